"""Templates in the administrator's texts: `{user.name}`, `{options.image}`, `{options.minutes * 60}`.

Braces hold a name or a sum over names and numbers; nothing else can be said, so nothing can be reached by it:
names are looked up in one flat mapping, and there are no attributes, items, strings or calls but `min`, `max`,
`ceil`, `floor` and `round`. What users give is filled in and never read as a template itself.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import SecretStr

from ..arithmetic import CALLS, SUMS

LONGEST = 500


class TemplateError(ValueError):
    """A template that cannot be read or filled in; the sentence says why."""


@dataclass(frozen=True)
class Scope:
    """What templates may name, with its values."""

    values: Mapping[str, Any]
    groups: tuple[str, ...] = ()
    """In a list, an item that names `user.group` stands there once for each of these."""
    secrets: frozenset[str] = field(default_factory=frozenset)
    """Names whose values must never be shown."""


@lru_cache(4096)
def parse(text: str) -> tuple[str | ast.expr, ...]:
    """Text and expressions in turn.

    raises  TemplateError
    """
    parts: list[str | ast.expr] = []
    plain, position = "", 0
    while position < len(text):
        here = text[position]
        if here in "{}" and text[position : position + 2] == here * 2:
            plain, position = plain + here, position + 2
        elif here == "{":
            end = text.find("}", position)
            if end < 0:
                raise TemplateError(f"{text!r} lacks a closing brace; a brace itself is written twice: {{{{")
            parts += [plain, _expression(text[position + 1 : end])]
            plain, position = "", end + 1
        elif here == "}":
            raise TemplateError(f"{text!r} lacks an opening brace; a brace itself is written twice: }}}}")
        else:
            plain, position = plain + here, position + 1
    return tuple(part for part in (*parts, plain) if part != "")


@lru_cache(4096)
def names(text: str) -> frozenset[str]:
    """Every name that the template uses: `user.name`, `options.image`."""
    return frozenset(_name(node) for part in parse(text) if not isinstance(part, str) for node in _named(part))


def names_in(value: Any) -> set[str]:
    """The same for texts anywhere inside mappings and lists."""
    return {name for text in _texts(value) for name in names(text)}


def summands(text: str) -> set[str]:
    """Names that the template reckons with: they must be numbers."""
    sums = (part for part in parse(text) if not isinstance(part, str | ast.Attribute))
    return {_name(node) for part in sums for node in _named(part)}


def check(text: str, known: Sequence[str]) -> None:
    """Raise TemplateError where the template cannot be read, or uses a name that is not known."""
    for name in sorted(names(text)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {{{near[0]}}}?" if near else ""
            listed = ", ".join(known)
            raise TemplateError(f"{text!r}: there is no {{{name}}}.{meant} Known: {listed}. Braces are written twice.")


def fill(value: Any, scope: Scope) -> Any:
    """`value` with every template in it filled in, mappings and lists too.

    A text that is one template alone becomes what it stands for: a number, a mapping. What is made of a secret
    is a `SecretStr`, or a mapping of them.
    raises  TemplateError
    """
    if isinstance(value, str):
        return _fill_text(value, scope)
    if isinstance(value, Mapping):
        return {key: fill(inner, scope) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled for item in value for filled in _fill_item(item, scope)]
    return value


def shown(value: Any) -> str:
    """A value inside a text: `2` for 2.0, `true`, groups joined by commas."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, (str, int)):
        return str(value)
    kind = "null" if value is None else "a mapping" if isinstance(value, Mapping) else "a list"
    raise TemplateError(f"{kind} cannot stand inside a text")  # not the value: it may be a secret


def _fill_item(item: Any, scope: Scope) -> Iterator[Any]:
    if isinstance(item, str) and "user.group" in names(item):
        for group in scope.groups:
            yield fill(item, Scope({**scope.values, "user.group": group}, scope.groups, scope.secrets))
    else:
        yield fill(item, scope)


def _fill_text(text: str, scope: Scope) -> Any:
    parts = parse(text)
    values = [part if isinstance(part, str) else _value(part, scope.values) for part in parts]
    filled = values[0] if len(parts) == 1 else "".join(shown(value) for value in values)
    if not scope.secrets.isdisjoint(names(text)):
        if isinstance(filled, Mapping):
            return {key: None if inner is None else SecretStr(_plain(inner)) for key, inner in filled.items()}
        return SecretStr(shown(filled))
    return filled


def _plain(value: Any) -> str:
    if isinstance(value, (list, Mapping)):
        raise TemplateError("the values of a mapping of secrets must be texts")
    return shown(value)


def _expression(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise TemplateError(f"a template must not be longer than {LONGEST} letters")
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise TemplateError(f"{{{text}}} is no name or sum; a brace itself is written twice: {{{{") from None
    _check_shape(parsed, text)
    return parsed


def _check_shape(node: ast.expr, text: str) -> None:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return None
        case ast.Attribute(value=ast.Name(), attr=attr) if not attr.startswith("_"):
            return None
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _check_shape(inner, text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SUMS:
            _check_shape(left, text)
            return _check_shape(right, text)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if name in CALLS:
            for inner in args:
                _check_shape(inner, text)
            return None
    raise TemplateError(
        f"{{{text}}}: braces may hold a name such as user.name or options.NAME, or a sum over names and numbers "
        f"with + - * / // and {', '.join(CALLS)}; a brace itself is written twice: {{{{"
    )


def _named(node: ast.expr) -> Iterator[ast.Attribute]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute):
            yield inner


def _name(node: ast.Attribute) -> str:
    assert isinstance(node.value, ast.Name)
    return f"{node.value.id}.{node.attr}"


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Attribute):
        try:
            return values[_name(node)]
        except KeyError:
            raise TemplateError(f"there is no {{{_name(node)}}}") from None
    return _sum(node, values)


def _sum(node: ast.expr, values: Mapping[str, Any]) -> int | float:
    result: Any
    try:
        match node:
            case ast.Constant():
                result = node.value
            case ast.UnaryOp():
                result = -_sum(node.operand, values)
            case ast.BinOp():
                result = SUMS[type(node.op)](_sum(node.left, values), _sum(node.right, values))
            case ast.Call(func=ast.Name(id=name)):
                inner = [_sum(each, values) for each in node.args]
                result = CALLS[name](inner) if name in ("min", "max") else CALLS[name](*inner)
            case _:
                result = _value(node, values)
        if isinstance(result, (int, float)) and not isinstance(result, bool) and math.isfinite(result):
            return result
    except (ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, TemplateError):
            raise
        raise TemplateError(f"{{{ast.unparse(node)}}} has no value") from None
    raise TemplateError(f"{{{ast.unparse(node)}}} is not a number to reckon with")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
