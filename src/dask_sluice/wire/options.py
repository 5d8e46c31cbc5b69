"""Cluster options: how one is described and checked, the same way on both ends.

The server publishes a list of `Option`; client and server call the same `check_options`, so that a
mistake is refused before it travels and a client that skips the check is refused all the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional, Union

from .errors import OptionInvalid

MASK = "**********"
"""Stands where a secret was given."""


LARGEST = 2**63
"""No whole number is that large: nothing that we count comes near, and floats cannot hold them."""


class OptionType(str, Enum):
    """What an option's value may be."""

    STRING = "string"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    SELECT = "select"
    """One string out of `choices`."""
    MAPPING = "mapping"
    """String keys, JSON values."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Option:
    """One thing a user may choose. Bounds are inclusive; `unit` is for people only."""

    name: str
    type: OptionType
    default: Any
    label: str = ""
    help: str = ""
    unit: str = ""
    minimum: Optional[float] = None
    maximum: Optional[float] = None
    choices: tuple[str, ...] = ()
    hidden: bool = False
    """Left out of forms and listings; whoever knows it can set it."""
    secret: bool = False
    """Its value is never shown."""

    @property
    def title(self) -> str:
        """What a form calls it: `Memory per worker (GiB)`."""
        name = self.label or self.name
        return f"{name} ({self.unit})" if self.unit else name

    def shown(self, value: Any) -> Any:
        """`value` as people may see it."""
        return MASK if self.secret and value else value

    def check(self, value: Any) -> Any:
        """`value` as this option's type, or `OptionInvalid` naming the option and what it accepts."""
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise OptionInvalid(self.name, f"{self.name} must be smaller than 2^63")
        if self.type is OptionType.FLOAT and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected: type = _PYTHON_TYPES[self.type]
        if not isinstance(value, expected) or (isinstance(value, bool) and self.type is not OptionType.BOOL):
            got = type(value).__name__ if self.secret else repr(value)
            raise OptionInvalid(self.name, f"{self.name} must be {_A_TYPE[self.type]}, got {got}")
        if self.type in (OptionType.INT, OptionType.FLOAT):
            self._check_bounds(value)  # type: ignore[arg-type]
        if self.type is OptionType.SELECT and value not in self.choices:
            raise OptionInvalid(self.name, f"{self.name} must be one of {list(self.choices)}, got {value!r}")
        return value

    def _check_bounds(self, value: Union[int, float]) -> None:
        unit = f" {self.unit}" if self.unit else ""
        if value != value or value in (float("inf"), float("-inf")):
            raise OptionInvalid(self.name, f"{self.name} must be a finite number, got {value!r}")
        if self.minimum is not None and value < self.minimum:
            raise OptionInvalid(self.name, f"{self.name} must be >= {self.minimum:g}{unit}, got {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise OptionInvalid(self.name, f"{self.name} must be <= {self.maximum:g}{unit}, got {value:g}")


_PYTHON_TYPES: Mapping[OptionType, type] = {
    OptionType.STRING: str,
    OptionType.BOOL: bool,
    OptionType.INT: int,
    OptionType.FLOAT: float,
    OptionType.SELECT: str,
    OptionType.MAPPING: dict,
}
_A_TYPE: Mapping[OptionType, str] = {
    OptionType.STRING: "text",
    OptionType.BOOL: "true or false",
    OptionType.INT: "a whole number",
    OptionType.FLOAT: "a number",
    OptionType.SELECT: "text",
    OptionType.MAPPING: "a mapping",
}


def check_options(known: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every known option's value, in the order of `known`: the given one, checked, or the default.

    raises  OptionInvalid for an unknown name (with the nearest known one) or a value out of range
    """
    names = [option.name for option in known]
    for name in given:
        if name not in names:
            raise unknown_option(names, name)
    return {o.name: o.check(given[o.name]) if o.name in given else o.default for o in known}


def unknown_option(names: Sequence[str], name: str) -> OptionInvalid:
    """The error for an option that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(str(name), names, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return OptionInvalid(str(name), f"Unknown fields [{str(name)!r}].{meant} Known: {', '.join(names) or 'none'}.")
