"""dask-gateway's kinds of options as ours: what users may choose, and what a handler sees of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .draft import Draft
from .report import Report
from .symbols import ByChoice, Field, Opaque, Template, is_plain, literally, source

TYPES = {
    "Integer": "int",
    "Float": "float",
    "String": "string",
    "Bool": "bool",
    "Select": "choice",
    "Mapping": "mapping",
}
BUILT_IN = {
    "worker_cores": "float",
    "worker_memory": "float",
    "worker_threads": "int",
    "environment": "string",
    "variables": "mapping",
    "dask_config": "mapping",
}
SWITCHED_OFF = ("worker_cores", "worker_memory", "worker_threads", "environment")
"""Those that a site did not have that does not name them: they would change what its clusters get."""
"""Options that are here without being named, with their types."""
_PROFILE = re.compile(r"[A-Za-z0-9][\w .+-]{0,62}")


def value_of(field: Field) -> Any:
    """What a handler sees: few values by choice, anything else by its name."""
    if field.kind == "Bool":
        return ByChoice(field.name, {"true": True, "false": False})
    values = choices(field)
    if field.kind == "Select" and values:
        return ByChoice(field.name, values)
    return Template(f"{{options.{field.name}}}")


def choices(field: Field) -> dict[str, Any]:
    """Labels with values of a `Select`; nothing where they are not known."""
    given = field.arguments.get("options")
    if not isinstance(given, (list, dict)):
        return {}
    result: dict[str, Any] = {}
    for each in given:
        if isinstance(each, (list, tuple)) and len(each) == 2 and isinstance(each[0], str):
            result[each[0]] = each[1]
        elif isinstance(each, str):
            result[each] = each
        else:
            return {}
    return result


def is_profile(fields: Mapping[str, Field]) -> bool:
    """Whether the option `profile` can be made of our profiles."""
    field = fields.get("profile")
    return field is not None and field.kind == "Select" and all(map(_PROFILE.fullmatch, choices(field)))


def write_profiles(field: Field, draft: Draft, report: Report) -> None:
    """The option `profile` as our profiles; what is in them is said elsewhere."""
    labels, default = list(choices(field)), field.arguments.get("default")
    for label in labels:
        draft.set(("profiles", label, "label"), label, str(field.where))
    draft.set(("policy", "default_profile"), default if default in labels else labels[0], str(field.where))
    report.add("maps", "-> profiles", f"{field.kind}('profile')", field.where)


def write_option(name: str, field: Field, draft: Draft, report: Report) -> None:
    """The option as one of ours; what it does is said elsewhere."""
    place, given = ("options", name), field.arguments
    kind = TYPES[field.kind]
    labels = list(choices(field))
    origin = str(field.where)
    if kind == "choice" and not labels:
        report.add(
            "decide",
            "its choices are found out by running code: name them, give patterns with 'allowed' such as "
            '"{user.name}/*", or have '
            f"policy.options_hook give them for each user: {source(given.get('options'))}",
            name,
            field.where,
        )
        kind = "string"
    if BUILT_IN.get(name) != kind:
        draft.set((*place, "type"), kind, origin)
    default = given.get("default")
    if isinstance(default, Opaque) or not is_plain(default):
        report.add("decide", f"its default is found out by running code: {source(default)}", name, field.where)
        default = None
    if default is None and kind in ("int", "float"):
        default = 0
    if isinstance(default, str):
        default = literally(default)
    if default not in (None, {}):
        draft.set((*place, "default"), default, origin)
    for old, new in (("min", "minimum"), ("max", "maximum"), ("label", "label")):
        if is_plain(given.get(old)) and given.get(old) is not None:
            draft.set((*place, new), given[old], origin)
    if labels and kind == "choice":
        draft.set((*place, "choices"), labels, origin)
    report.add("maps", f"-> options.{name}", f"{field.kind}({name!r})", field.where)
