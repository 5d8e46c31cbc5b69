"""Values files of helm, merged as helm merges them, with file and line of every key; and where dask-gateway's are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .report import Report, Where

Place = tuple[str, ...]
PARENTS = ("basehub", "daskhub", "jupyterhub")
"""Charts that bring the gateway's along, in the order in which a block beneath them is preferred."""
_CHILDREN = ("gateway", "controller", "traefik", "rbac")
_DEEPEST = 4


class Unreadable(Exception):
    """A file that cannot be read; the sentence says why."""


@dataclass
class Values:
    """Values with their places. `under`: the keys above the gateway's section, none where it is the whole file."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Place, Where] = field(default_factory=dict)
    under: Place = ()

    def where(self, *path: str) -> Where:
        """File and line of a key, or of the nearest one above it."""
        place = (*self.under, *path)
        while place and place not in self.places:
            place = place[:-1]
        return self.places.get(place, Where())

    @property
    def section(self) -> Any:
        """The gateway's own values."""
        found: Any = self.data
        for key in self.under:
            found = found[key]
        return found


def read_values(files: tuple[Path, ...]) -> Values:
    """The files as one, later ones going before.

    raises  Unreadable naming file and line
    """
    values = Values()
    for file in files:
        data, places = _one(file)
        _merge(values.data, data)
        values.places |= places
    return values


def find_section(values: Values, report: Report) -> None:
    """Set `values.under` to where the gateway's values stand, and say so.

    raises  Unreadable where there are none
    """
    found = list(_sections(values.data, ()))
    if not found:
        raise Unreadable(
            "there are no values of dask-gateway in it: neither 'gateway:', nor a block 'dask-gateway:' at any depth"
        )
    found.sort(
        key=lambda place: (next((PARENTS.index(each) for each in place if each in PARENTS), len(PARENTS)), len(place))
    )
    values.under = found[0]
    for other in found[1:]:
        shown = ".".join(other) or "the top of the file"
        report.add(
            "wrong",
            f"there are values of dask-gateway at {'.'.join(found[0])} as well. A chart reads one of the two and "
            "says nothing of the other; the one beneath the parent chart is taken, this one is not carried over",
            shown,
            values.places.get(other),
        )


def _sections(data: Any, above: Place) -> Iterator[Place]:
    if not isinstance(data, Mapping) or len(above) > _DEEPEST:
        return
    if not above and any(isinstance(data.get(key), Mapping) for key in ("gateway", "controller")):
        yield ()
        return
    for key, value in data.items():
        if key == "dask-gateway" and isinstance(value, Mapping) and (set(value) & {*_CHILDREN, "enabled"}):
            if set(value) & set(_CHILDREN):
                yield (*above, key)
        elif isinstance(value, Mapping) and key not in ("hub", "singleuser"):
            yield from _sections(value, (*above, str(key)))


def _one(file: Path) -> tuple[dict[str, Any], dict[Place, Where]]:
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{file} cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unreadable(f"{file}{line} is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(f"{file} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise Unreadable(f"{file} holds no keys with values")
    places: dict[Place, Where] = {}
    _note(root, (), str(file.name), places, set())
    return data, places


def _note(node: Any, place: Place, file: str, places: dict[Place, Where], seen: set[int]) -> None:
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        inner = (*place, str(key.value))
        block = isinstance(value, yaml.ScalarNode) and value.style in ("|", ">")
        places[inner] = Where(file, key.start_mark.line + 1)
        if block:  # the text begins on the line after its bar
            places[(*inner, "|")] = Where(file, value.start_mark.line + 2)
        _note(value, inner, file, places, seen)


def _merge(base: dict[str, Any], more: Mapping[str, Any]) -> None:
    """As helm does: mappings key by key, null takes a key away, anything else replaces."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        elif value is None and key in base:
            del base[key]
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value
