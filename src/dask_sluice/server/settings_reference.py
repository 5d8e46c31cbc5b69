"""The settings explained: what each key accepts, the reference page, and what a file came to.

All is read off the schema, so that no setting can be without its line here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from .backends.kubernetes.settings import OF_KUBERNETES
from .settings_policy import BUILT_IN
from .settings_schema import BUILT_IN_BACKENDS, Settings

Schema = Mapping[str, Any]
_SAME = {"Setup": "policy.defaults", "Process": "policy.defaults.worker", "PodSettings": "backend.kubernetes.pods"}
"""Sections that stand in several places, and where they are explained."""

_HEAD = """\
# Configuration

Every setting of `dask-sluice serve --config FILE`, as `dask-sluice config-reference` prints it. The file is YAML;
without one everything has its default and the server works. An unknown key stops the server, naming the file, the
line and the nearest key there is. Relative paths count from the folder of the file. `dask-sluice check-config FILE`
reads a file and prints what it comes to, without starting anything.

```yaml
listen:
  address: 0.0.0.0
authenticator:
  kind: basic
  basic:
    users:
      alice: "scrypt$15$8$1$..."      # dask-sluice hash-password
limits:
  cluster: {workers: 20}
```
"""


@cache
def _document() -> Schema:
    return Settings.model_json_schema()


def schema_at(path: Sequence[str | int]) -> Schema | None:
    """The schema of the key at `path`, or None where there is no such key."""
    here: Schema = _document()
    for part in path:
        here = _followed(here)
        if isinstance(part, int):
            inner = here.get("items")
        elif "properties" in here:
            inner = here["properties"].get(part)
        else:
            inner = here.get("additionalProperties")
        if not isinstance(inner, Mapping):
            return None
        here = inner
    return here


def keys_at(path: Sequence[str | int]) -> list[str]:
    """The keys that the section at `path` knows."""
    here = schema_at(path)
    return list(_followed(here).get("properties", {})) if here is not None else []


def accepts(schema: Schema) -> str:
    """What a key accepts, in words: `a whole number from 0 to 65535`."""
    if "enum" in schema:
        return "one of " + ", ".join(repr(value) for value in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    if OF_KUBERNETES in schema:
        return f"`{schema[OF_KUBERNETES]}` of Kubernetes"
    if "anyOf" in schema:
        # A least length stands beside the ways of giving a secret, and is that of the text.
        length = {key: schema[key] for key in ("minLength",) if key in schema}
        return " or ".join(accepts({**part, **length} if "type" in part else part) for part in schema["anyOf"])
    if schema.get("$ref", "").endswith("/SecretFile"):
        return "`file:` with the path of a file that holds it"
    here = _followed(schema)
    kind = here.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(here)
    if kind == "array":
        return "a list" if "items" not in here else f"a list, each {accepts(here['items'])}"
    if kind == "object" and "properties" in here:
        return f"keys with values, out of {', '.join(here['properties'])}"
    if kind == "string" and "minLength" in here:
        return f"text of at least {here['minLength']} characters"
    words = {"string": "text", "boolean": "true or false", "null": "null", "object": "keys with values"}
    return "a path" if here.get("format") in ("path", "file-path") else words.get(str(kind), "anything")


def is_secret(schema: Schema) -> bool:
    """Whether a value must never be shown."""
    return schema.get("format") == "password" or any(is_secret(part) for part in schema.get("anyOf", ()))


def places_of(key: str) -> list[str]:
    """Sections that know a key of this name, for whoever put it elsewhere."""
    return [
        name
        for path, section in _sections((), _document())
        if (name := ".".join(path)) and key in section["properties"] and _SAME.get(section["title"], name) == name
    ]


def reference() -> str:
    """The reference page, markdown."""
    lines = [_HEAD]
    for path, section in _sections((), _document()):
        name = ".".join(path)
        if path:
            lines += ["", f"## {name}", "", _one_line(section.get("description", "")), ""]
        if (same := _SAME.get(section["title"], name)) != name:
            lines += [f"The same keys as `{same}`."]
            continue
        plain = {key: value for key, value in section["properties"].items() if not _is_section(value)}
        if plain:
            lines += ["| key | accepts | default | what it does |", "|---|---|---|---|"]
            lines += [_row(".".join((*path, key)), value, key) for key, value in plain.items()]
        if path == ("options", "NAME"):
            lines += ["", "The built-in options:", "", *_built_in_options()]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def describe(settings: Settings) -> str:
    """What the settings come to, one `key = value` a line, secrets masked."""
    values = settings.model_dump(mode="json")
    given = settings.model_dump(mode="json", include={"options", "profiles", "policy", "backend"}, exclude_unset=True)
    values["options"], values["profiles"] = given.get("options", {}), given.get("profiles", {})
    setups = given.get("policy", {})
    values["policy"] |= {key: setups.get(key, {}) for key in ("defaults", "everyone", "groups", "users")}
    values["backend"] = _backend(settings.backend.kind, values["backend"], given.get("backend", {}))
    return "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in _flat((), values)) + "\n"


def _backend(kind: str, values: Schema, given: Schema) -> Schema:
    """Without the sections of other backends; of what is said of pods, what is said."""
    kept = {key: value for key, value in values.items() if key not in BUILT_IN_BACKENDS or key == kind}
    if kind == "kubernetes":
        said = given.get(kind, {})
        kept[kind] = {**kept[kind], **{role: said.get(role, {}) for role in ("pods", "scheduler", "worker")}}
    return kept


def _flat(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat((*path, str(key)), inner)
    else:
        yield ".".join(path), sorted(value) if path == ("authenticator", "admins") else value


def _sections(path: tuple[str, ...], schema: Schema) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every section; below one that has the keys of another, nothing more."""
    here = _followed(schema)
    yield path, {**here, "description": schema.get("description", here.get("description", ""))}
    if _SAME.get(here["title"], name := ".".join(path)) != name:
        return
    for key, inner in here["properties"].items():
        if _is_section(inner):
            yield from _sections((*path, key), inner)
        elif (named := _named(inner)) is not None:
            yield from _sections((*path, key, "NAME"), {**named, "description": inner.get("description", "")})


def _named(schema: Schema) -> Schema | None:
    """The section that each of a mapping's values is, None where they are no sections."""
    inner = _followed(schema).get("additionalProperties")
    return inner if isinstance(inner, Mapping) and _is_section(inner) else None


def _built_in_options() -> Iterator[str]:
    yield "| option | type | default | minimum | what it does |"
    yield "|---|---|---|---|---|"
    for name, option in BUILT_IN.items():
        least = "-" if option.minimum is None else f"{option.minimum:g}"
        unit = f" {option.unit}" if option.unit else ""
        yield f"| `{name}` | {option.type} | `{json.dumps(option.default)}`{unit} | {least} | {option.help} |"


def _row(name: str, schema: Schema, key: str) -> str:
    default = "-" if "default" not in schema else f"`{json.dumps(schema['default'])}`"
    what = _one_line(schema.get("description", ""))
    return f"| `{name}` | {accepts(schema)} | {default} | {what} |".replace("\\|", "|")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _is_section(schema: Schema) -> bool:
    return "properties" in _followed(schema)


def _followed(schema: Schema) -> Schema:
    """`schema`, or the one that it refers to or wraps as its only alternative to null."""
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return _followed(parts[0]) if len(parts) == 1 else schema
    if "$ref" in schema:
        found: Schema = _document()["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        return found
    return schema


def _bounds(schema: Schema) -> str:
    least, above, most = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    if above is not None:
        return f" above {above:g}" + ("" if most is None else f", at most {most:g}")
    return f", at least {least:g}" if least is not None else f", at most {most:g}" if most is not None else ""
