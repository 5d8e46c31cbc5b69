"""Our settings while they are put together: every value with where it comes from, and all of it as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

Place = tuple[str, ...]
_ORDER = (
    "listen",
    "data_dir",
    "database",
    "authenticator",
    "backend",
    "options",
    "profiles",
    "policy",
    "limits",
    "leases",
    "timeouts",
)


class Draft:
    """Nested settings; keys in the order in which they were first named."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._origins: dict[Place, str] = {}

    def set(self, place: str | Place, value: Any, origin: str = "") -> None:
        """Set a key, written with dots or as a path; mappings are merged, anything else replaces."""
        path = tuple(place.split(".")) if isinstance(place, str) else place
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                self.set((*path, str(key)), inner, origin)
            return
        inside = self.data
        for key in path[:-1]:
            if not isinstance(inside.get(key), dict):
                inside[key] = {}
            inside = inside[key]
        inside[path[-1]] = value
        if origin:
            self._origins[path] = origin

    def get(self, place: str | Place, default: Any = None) -> Any:
        """The value at a place."""
        inside: Any = self.data
        for key in place.split(".") if isinstance(place, str) else place:
            if not isinstance(inside, dict) or key not in inside:
                return default
            inside = inside[key]
        return inside

    def remove(self, place: str | Place) -> None:
        """Take a key away, and what is empty above it."""
        path = tuple(place.split(".")) if isinstance(place, str) else place
        chain = [self.data]
        for key in path[:-1]:
            if not isinstance(chain[-1].get(key), dict):
                return
            chain.append(chain[-1][key])
        chain[-1].pop(path[-1], None)
        for above, key in zip(reversed(chain[:-1]), reversed(path[:-1]), strict=False):
            if not above[key]:
                del above[key]

    def move(self, old: Place, new: Place) -> None:
        """Move a value to another place, with where it comes from."""
        origins = {place: origin for place, origin in self._origins.items() if place[: len(old)] == old}
        value = self.get(old)
        self.remove(old)
        self.set(new, value)
        self._origins |= {(*new, *place[len(old) :]): origin for place, origin in origins.items()}

    def absorb(self, under: Place, other: Draft) -> None:
        """Take over another draft's values with their origins."""
        if not other.data:
            return
        inside = self.data
        for key in under:
            inside = inside.setdefault(key, {})
        inside.update(other.data)
        self._origins |= {(*under, *place): origin for place, origin in other._origins.items()}

    def ordered(self, under: Place = ()) -> Draft:
        """The same with the settings beneath `under` in the order in which docs/configuration.md has them."""
        inside = self.get(under, {}) if under else self.data
        order = [name for name in _ORDER if name in inside]
        rest = [name for name in inside if name not in _ORDER]
        values = {name: inside[name] for name in (*order, *rest)}
        inside.clear()
        inside.update(values)
        return self

    def text(self, under: Place = ()) -> str:
        """As YAML, each value with a comment that says where it comes from. `under`: keys to put above all."""
        data: Any = self.data
        for key in reversed(under):
            data = {key: data}
        text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
        lines = text.splitlines()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(root, yaml.MappingNode):
            self._comment(root, (), lines, len(under))
        return "\n".join(lines) + "\n"

    def _comment(self, node: yaml.MappingNode, place: Place, lines: list[str], above: int) -> None:
        for key, value in node.value:
            inner = (*place, str(key.value))
            origin = self._origins.get(inner[above:])
            line = key.start_mark.line
            one_line = value.start_mark.line == value.end_mark.line or value.start_mark.line > line
            if origin and one_line:
                lines[line] += f"  # {origin}"
            if isinstance(value, yaml.MappingNode):
                self._comment(value, inner, lines, above)


class _Dumper(yaml.SafeDumper):
    """Lists indented, texts of several lines as blocks, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
