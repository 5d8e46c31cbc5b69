"""Values held against a schema: that of Kubernetes for what is its own, that of `PodSettings` for what is ours.

`schema.json` is made by `scripts/kubernetes_schema.py` from what a real API server says. Beside plain values, layers
of policy hold templates, which stand for anything until they are filled in, `null`, which takes a key away, and
`{append: [...]}` for a list; the checks know them. Ours is a small checker, not a library, because of those, and
because its sentences are what an administrator reads.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ...settings_policy import is_template
from .settings import OF_KUBERNETES
from .syntax import is_quantity

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
Schema = Mapping[str, Any]

_WORDS = {"string": "text", "boolean": "true or false", "object": "keys with values", "array": "a list",
          "integer": "a whole number", "number": "a number", "null": "null"}  # fmt: skip
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "object": (Mapping,), "array": (list, tuple), "integer": (int,),
    "number": (int, float), "null": (type(None),),
}  # fmt: skip


@cache
def kubernetes() -> Schema:
    """Definitions of Kubernetes by short names: `PodSpec`, `Container`."""
    text = files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    found: Schema = json.loads(text)["definitions"]
    return found


@cache
def merge_keys() -> Mapping[str, str]:
    """Lists whose items have names, and the key that holds the name: `volumeMounts` by `mountPath`."""
    return {
        key: inner["by"]
        for name in ("PodSpec", "Container")
        for key, inner in kubernetes()[name]["properties"].items()
        if "by" in inner
    }


@dataclass(frozen=True)
class Checker:
    """Holds values against schemas. `filled`: templates have been filled in, so that braces are braces."""

    definitions: Schema
    """What `$ref` may name, beside what Kubernetes knows."""
    filled: bool

    def problems(self, value: Any, schema: Schema, place: Place = ()) -> Iterator[Problem]:
        """What is wrong with the value, by place."""
        schema = self._followed(schema)
        if value is None or (not self.filled and is_template(value)):
            return
        if "anyOf" in schema or "oneOf" in schema:
            yield from self._one_of(value, schema.get("anyOf") or schema["oneOf"], schema, place)
        elif "enum" in schema or "const" in schema:
            known = schema.get("enum") or [schema["const"]]
            if value not in known or isinstance(value, bool):
                yield place, f"must be {_either(known)}; got {_shown(value)}{_near(value, known)}"
        elif schema.get("type") == "array":
            yield from self._list(value, schema, place)
        elif schema.get("type") == "object":
            yield from self._mapping(value, schema, place)
        elif (kind := schema.get("type")) is not None:
            yield from _plain(value, kind, schema, place)

    def _one_of(self, value: Any, ways: Sequence[Schema], schema: Schema, place: Place) -> Iterator[Problem]:
        ways = [way for way in ways if way.get("type") != "null"]
        found = [list(self.problems(value, way, place)) for way in ways]
        if all(found):
            if len(ways) == 1:
                yield from found[0]
            else:
                accepted = " or ".join(_accepts(way) for way in ways)
                yield place, f"must be {accepted}; got {_shown(value)}"
        elif schema.get("format") == "quantity" and isinstance(value, str) and not is_quantity(value):
            yield place, f"must be an amount such as '500m' or '2Gi'; got {_shown(value)}"

    def _list(self, value: Any, schema: Schema, place: Place) -> Iterator[Problem]:
        if isinstance(value, Mapping) and list(value) == ["append"] and not self.filled:
            value, place = value["append"], (*place, "append")
        if not isinstance(value, (list, tuple)):
            yield place, f"must be a list; got {_shown(value)}"
            return
        names: list[Any] = []
        for index, item in enumerate(value):
            here = (*place, index)
            yield from self.problems(item, schema.get("items", {}), here)
            name = item.get(schema["by"]) if "by" in schema and isinstance(item, Mapping) else None
            if name is not None and name in names:
                yield here, f"{schema['by']} {name!r} is given twice"
            names.append(name)

    def _mapping(self, value: Any, schema: Schema, place: Place) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield place, f"must be keys with values; got {_shown(value)}"
            return
        known, free = schema.get("properties", {}), schema.get("additionalProperties", "properties" not in schema)
        for key, inner in value.items():
            here = (*place, str(key))
            if key in known:
                yield from self.problems(inner, known[key], here)
            elif isinstance(free, Mapping):
                yield from self.problems(inner, free, here)
            elif not free:
                yield here, unknown(str(key), list(known))
        if all(key in known for key in value):  # else the missing key may be there, misspelt
            yield from ((place, f"{key} is missing") for key in schema.get("required", ()) if value.get(key) is None)

    def _followed(self, schema: Schema) -> Schema:
        if OF_KUBERNETES in schema:
            return {**kubernetes()[schema[OF_KUBERNETES]], **schema}
        while "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = self.definitions.get(name) or kubernetes()[name]
        return schema


def unknown(key: str, known: Sequence[str]) -> str:
    """The sentence for a key that is not known: the nearest one, else all that are."""
    near = same(key, known) or next(iter(difflib.get_close_matches(key, known, n=1)), None)
    meant = f" Did you mean {near!r}?" if near else ""
    listed = f" Known: {', '.join(known)}." if not near else ""
    return f"unknown key {key!r}.{meant}{listed}"


def same(key: str, known: Iterable[str]) -> str | None:
    """The known key that is only written otherwise: `nodeSelector` for `node_selector`."""
    return next((each for each in known if _flat(each) == _flat(key)), None)


def _plain(value: Any, kind: str, schema: Schema, place: Place) -> Iterator[Problem]:
    fits = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if not fits:
        quoted = kind == "string" and isinstance(value, (bool, int, float))
        how = f": write {json.dumps(json.dumps(value))}" if quoted else ""
        yield place, f"must be {_WORDS[kind]}; got {_shown(value)}{how}"
    elif kind in ("integer", "number") and not (schema.get("minimum", value) <= value <= schema.get("maximum", value)):
        yield place, f"must be {_accepts(schema)}; got {_shown(value)}"


def _accepts(schema: Schema) -> str:
    if "const" in schema or "enum" in schema:
        return _either(schema.get("enum") or [schema["const"]])
    words = _WORDS.get(schema.get("type", ""), "anything")
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None:
        return f"{words}, at least {least}" if most is None else f"{words} from {least} to {most}"
    return words


def _either(known: Sequence[Any]) -> str:
    shown = [repr(each) for each in known]
    return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"


def _near(value: Any, known: Sequence[Any]) -> str:
    texts = [str(each) for each in known]
    near = same(str(value), texts) or next(iter(difflib.get_close_matches(str(value), texts, n=1)), None)
    return f". Did you mean {near!r}?" if near else ""


def _flat(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
