"""What the sections of the settings have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
)

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
LEAST_OF_A_SECRET = 8
SecondsOrNever = Annotated[float, Field(ge=0)]


def _from_file(value: Any, info: ValidationInfo) -> Any:
    """The secret in the file, where one is named instead of it. A line break at its end is no part of it."""
    if not isinstance(value, dict):
        return value
    path = _file_of(value, info)
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {path} is not text in UTF-8") from error
    if not text:
        raise ValueError(f"the file {path} is empty")
    return text


def _file_of(value: Any, info: ValidationInfo) -> Path:
    """The path in `{file: path}`."""
    if not isinstance(value, dict) or list(value) != ["file"] or not isinstance(value["file"], str):
        raise ValueError("must be the secret itself, or 'file:' with the path of the file that holds it")
    return _anchored(Path(value["file"]), info)


def _mounted(value: Any, info: ValidationInfo) -> Any:
    if value is None or isinstance(value, (SecretStr, Path)):
        return value
    if not isinstance(value, str):
        return _file_of(value, info)
    if len(value) < LEAST_OF_A_SECRET:
        raise ValueError(f"must have at least {LEAST_OF_A_SECRET} characters")
    return SecretStr(value)


class Section(BaseModel):
    """A section: immutable, and no key that is not known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, str_strip_whitespace=True
    )


class SecretFile(Section):
    """A secret that stands in a file of its own, as Kubernetes and systemd hand them out."""

    file: str
    """Path of the file."""


Secret = Annotated[SecretStr, BeforeValidator(_from_file, json_schema_input_type=SecretStr | SecretFile)]
"""A secret, written into the settings or named by its file: `{file: /run/secrets/token}`."""

_AS_WRITTEN = Annotated[SecretStr, Field(min_length=LEAST_OF_A_SECRET)] | SecretFile
MountedSecret = Annotated[SecretStr | Path, PlainValidator(_mounted, json_schema_input_type=_AS_WRITTEN)]
"""The same, where the file is read by whoever needs the secret, each time: its path, or the secret."""
