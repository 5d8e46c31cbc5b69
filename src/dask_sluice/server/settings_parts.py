"""What the sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .identity.names import is_user_name


def _user(value: str) -> str:
    if not is_user_name(value):
        raise ValueError("a user name has letters, digits and . _ @ + - only, and does not start with a sign")
    return value


UserName = Annotated[str, AfterValidator(_user)]
GroupName = UserName
Seconds = Annotated[float, Field(gt=0)]
SecondsOrNever = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section: immutable, and no key that is not known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, str_strip_whitespace=True
    )
