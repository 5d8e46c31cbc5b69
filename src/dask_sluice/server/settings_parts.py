"""What the sections of the settings have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from .identity.names import is_user_name


def _user(value: str) -> str:
    if not is_user_name(value):
        raise ValueError(
            "a user name has letters, digits, blanks and . _ @ + - : | only, and starts with a letter or digit"
        )
    return value


def _anchored(path: Path, info: ValidationInfo) -> Path:
    """A relative path is meant from the folder of the file that names it, not from wherever we were started."""
    base = (info.context or {}).get("base")
    path = path.expanduser()
    return base / path if base is not None else path.absolute()


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError("must be an address such as 'https://dask.example.org'")
    return value.rstrip("/")


UserName = Annotated[str, AfterValidator(_user)]
GroupName = UserName
Seconds = Annotated[float, Field(gt=0)]
AnchoredPath = Annotated[Path, AfterValidator(_anchored)]
Url = Annotated[str, AfterValidator(_url)]
SecondsOrNever = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section: immutable, and no key that is not known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, str_strip_whitespace=True
    )
