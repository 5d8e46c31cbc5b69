"""Settings from a YAML file. Whatever is wrong is said with file, line and the nearest right thing, all at once.

Nothing is guessed: a key given twice, a key that is not known, text where a number belongs, an alias are
all refused, because a setting that is silently ignored is found out months later.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .policy.checks import Place, problems
from .settings_reference import accepts, is_secret, keys_at, places_of, schema_at
from .settings_schema import Settings


class SettingsError(Exception):
    """The configuration cannot be used; the message has one line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path) -> Settings:
    """The settings in the file.

    raises  SettingsError naming file, line, key and what is accepted, for everything that is wrong with it
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError([f"there is no configuration file {path}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"the configuration file {path} cannot be read: {error}"]) from error
    return loads(text, path)


def loads(text: str, path: Path) -> Settings:
    """The same for a text that stands in that file; the path serves messages and relative paths."""
    data, lines = _parsed(text, path)
    try:
        # JSON, because pydantic's strict mode takes there what YAML can say (a path is text) and nothing else.
        settings = Settings.model_validate_json(
            json.dumps(data, default=str), strict=True, context={"base": path.absolute().parent}
        )
    except ValidationError as error:
        found = sorted((_line(_place(problem), lines), what_is_wrong(problem)) for problem in error.errors())
        # `from None`: the cause would print the values, and some of them are secrets.
        raise SettingsError([f"{path}, line {line}: {what}" for line, what in found]) from None
    found = sorted((_line(place, lines), f"{_key(place)}: {what}") for place, what in problems(settings))
    if found:
        raise SettingsError([f"{path}, line {line}: {what}" for line, what in found])
    return settings


def where(path: Path, place: Place) -> str:
    """`FILE, line 3`: where this key stands in a file that can be read, or the nearest one around it that does."""
    _, lines = _parsed(path.read_text(encoding="utf-8"), path)
    return f"{path}, line {_line(place, lines)}"


def _parsed(text: str, path: Path) -> tuple[Any, dict[Place, int]]:
    lines: dict[Place, int] = {(): 1}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return {}, lines
        _note_lines(root, (), lines, set())
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError([f"{path}{where}: {_yaml_problem(error)}"]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError([f"{path}: is not YAML: {error}"]) from error
    if not isinstance(data, Mapping):
        raise SettingsError([f"{path}, line 1: expected keys such as 'listen:' with values, got {_shown(data)}"])
    return data, lines


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], seen: set[int]) -> None:
    """Write down on which line each key stands, and refuse what the parser would take without a word."""
    if id(node) in seen:
        problem = "a value used a second time (*name) is not supported: write it out"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:
                problem = f"the key {key.value!r} is given twice; the first is on line {lines[inner]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[inner] = key.start_mark.line + 1
            _note_lines(value, inner, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _note_lines(value, (*place, index), lines, seen)


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    if error.context is None:
        return str(error.problem)
    return f"is not YAML: {error.problem} ({error.context})"


def _place(problem: Any) -> Place:
    return tuple(part for part in problem["loc"] if part != "[key]")


def _key(place: Place) -> str:
    return ".".join(str(part) for part in place) or "the file"


def _line(place: Place, lines: Mapping[Place, int]) -> int:
    while place not in lines:  # a missing key has no line of its own; its section has
        place = place[:-1]
    return lines[place]


def what_is_wrong(problem: Any, under: Place = ()) -> str:
    """One problem that pydantic found, in a sentence; `under` is where its model stands among the settings."""
    place, kind = (*under, *_place(problem)), problem["type"]
    key = _key(place[len(under) :])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(place, len(under))
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    schema = schema_at(place) or schema_at(place[:-1]) or {}
    got = "" if is_secret(schema) else f"; got {_shown(problem['input'])}"
    return f"{key} must be {accepts(schema)}{got}"


def _unknown(place: Place, under: int) -> str:
    known = keys_at(place[:-1])
    name = str(place[-1])
    near = difflib.get_close_matches(name, known, n=1) or [key for key in known if name.startswith(f"{key}_")]
    meant = f" Did you mean {near[0]!r}?" if near else ""
    if not near and (elsewhere := places_of(name)):
        meant = f" It belongs under {' or '.join(repr(each) for each in elsewhere[:3])}."
    if not meant and (named := [key for key in ("users", "groups") if key in known]):
        meant = f" If it is a name, it belongs under {' or '.join(repr(key) for key in named)}."
    section = ".".join(str(part) for part in place[under:-1])
    where = f" in {section}" if section else ""
    return f"unknown key {name!r}{where}.{meant} Known{where}: {', '.join(known)}."


def _shown(value: Any) -> str:
    text = "null" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
