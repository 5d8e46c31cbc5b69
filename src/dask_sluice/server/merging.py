"""Layers of what a cluster gets, merged into one, remembering where each value came from.

Mappings merge key by key; everything else replaces what lies below. `null` takes a key away. A list replaces a
list, unless it is written `{append: [...]}`: then it goes behind what lies below. In a list of things that bear
names (volumes, say) each takes the place of the one with its name, and new ones go behind; which lists are such, a
backend knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]
ListKey = Callable[[Path], str]
"""By which key the items of the list at a path are told apart; empty: they are not."""


@dataclass(frozen=True)
class Layer:
    """One part of what a cluster gets, templates filled in. `source` is how people call it: `profile large`."""

    source: str
    values: Mapping[str, Any]


@dataclass
class Merged:
    """All layers together, and for each leaf the source that had the last word."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[Path, str] = field(default_factory=dict)

    def source(self, *path: str) -> str:
        """Where the value at `path` came from: the leaf's source, or that of the nearest part around it, or in it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.sources:
                return self.sources[path[:end]]
        return next((source for known, source in self.sources.items() if known[: len(path)] == path), "")

    def get(self, *path: str) -> Any:
        """The value at `path`, None where there is none."""
        here: Any = self.values
        for part in path:
            if not isinstance(here, Mapping) or part not in here:
                return None
            here = here[part]
        return here


def no_keys(path: Path) -> str:
    """No list has items with names."""
    return ""


def merge(layers: Sequence[Layer], list_key: ListKey = no_keys) -> Merged:
    """The layers, later ones over earlier ones. The layers themselves are left as they are."""
    merged = Merged()
    for layer in layers:
        _lay(merged, merged.values, layer.values, (), layer.source, list_key)
    return merged


def leaves(values: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no mapping, with its path; an empty mapping counts as one."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _lay(
    merged: Merged, below: dict[str, Any], above: Mapping[str, Any], path: Path, source: str, list_key: ListKey
) -> None:
    for key, value in above.items():
        here = (*path, key)
        added, name = _appended(value), ""
        if added is None and isinstance(value, (list, tuple)) and (name := list_key(here)):
            added = value
        if value is None:
            _forget(merged, here)
            below.pop(key, None)
        elif added is not None:
            lower = below.get(key)
            before = merged.sources.get(here)
            kept = lower if isinstance(lower, list) else []
            _forget(merged, here)
            below[key] = _by_name(kept, added, name) if name else [*kept, *added]
            merged.sources[here] = f"{before} + {source}" if before and kept else source
        elif isinstance(value, Mapping):
            if not isinstance(below.get(key), dict):
                _forget(merged, here)
                below[key] = {}
            merged.sources.pop(here, None)
            _lay(merged, below[key], value, here, source, list_key)
            if not below[key]:
                merged.sources[here] = source
        else:
            _forget(merged, here)
            below[key] = list(value) if isinstance(value, (list, tuple)) else value
            merged.sources[here] = source


def _by_name(lower: Sequence[Any], added: Sequence[Any], name: str) -> list[Any]:
    """The lower items, each in its place the one of the same name that was added; the others of those behind."""
    new = {_name(item, name): item for item in added}
    kept = [new.pop(_name(item, name), item) for item in lower]
    return [*kept, *new.values()]


def _name(item: Any, name: str) -> str:
    """By what an item is told apart: its name, or all that it is."""
    return repr(item[name] if isinstance(item, Mapping) and name in item else item)


def _appended(value: Any) -> Sequence[Any] | None:
    if isinstance(value, Mapping) and list(value) == ["append"] and isinstance(value["append"], (list, tuple)):
        return list(value["append"])
    return None


def _forget(merged: Merged, path: Path) -> None:
    for each in [known for known in merged.sources if known[: len(path)] == path]:
        del merged.sources[each]
