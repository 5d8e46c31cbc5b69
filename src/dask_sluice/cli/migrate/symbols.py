"""What an expression of an option handler comes to, where it is not known before a user has chosen.

Either our templates can say it (`Template`), or it depends on one option with few values (`ByChoice`), or it can
only be shown to a human (`Opaque`). Everything else is a plain value of Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from .report import Where

_NAME = re.compile(r"\b(?:options|user|cluster)\.[A-Za-z_]\w*")


@dataclass(frozen=True)
class Template:
    """A text with our templates in it. `alone`: the braces hold all of it, so that it keeps its type."""

    text: str
    alone: bool = True

    @property
    def inner(self) -> str:
        return self.text[1:-1]


@dataclass(frozen=True)
class ByChoice:
    """A value for each value of an option."""

    option: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Opaque:
    """An expression that is beyond us: its text, and the names it depends on."""

    source: str
    where: Where
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Field:
    """One option as dask-gateway describes it: `Integer("worker_cores", 2, min=1, ...)`."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    where: Where


@dataclass(frozen=True)
class OptionsValue:
    """A call `Options(..., handler=...)`."""

    fields: tuple[Any, ...]
    handler: Any
    where: Where


@dataclass(frozen=True)
class Function:
    """A function, with what it sees around it."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: dict[str, Any] = field(compare=False)

    @property
    def name(self) -> str:
        return getattr(self.node, "name", "lambda")

    def __deepcopy__(self, memo: object) -> Function:
        return self


class Parameter:
    """The `options` or the `user` that a handler is given."""

    def __init__(self, name: str, values: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.values = values
        """What each attribute is; None: anything, by its name."""

    def __deepcopy__(self, memo: object) -> Parameter:
        return self


class Missing:
    """What a choice says nothing of."""

    def __repr__(self) -> str:
        return "MISSING"

    def __deepcopy__(self, memo: object) -> Missing:
        return self


MISSING = Missing()


def uses(value: Any) -> frozenset[str]:
    """Names such as `options.gpu` and `user.name` on which a value depends, anywhere inside it."""
    return frozenset(_uses(value))


def _uses(value: Any) -> Iterator[str]:
    if isinstance(value, Template):
        yield from _NAME.findall(value.text)
    elif isinstance(value, ByChoice):
        yield f"options.{value.option}"
        for inner in value.values.values():
            yield from _uses(inner)
    elif isinstance(value, Opaque):
        yield from value.uses
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _uses(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _uses(inner)


def is_plain(value: Any) -> bool:
    """Whether a value is known here and now, inside too."""
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))


def opaques(value: Any) -> Iterator[Opaque]:
    """Everything inside that is beyond us."""
    if isinstance(value, Opaque):
        yield value
    elif isinstance(value, ByChoice):
        for inner in value.values.values():
            yield from opaques(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from opaques(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from opaques(inner)


def source(value: Any) -> str:
    """The value as people read it: templates and what is beyond us by their text."""
    if isinstance(value, Opaque):
        return value.source
    if isinstance(value, Template):
        return value.text
    if isinstance(value, ByChoice):
        return ", ".join(f"{source(inner)} for {choice}" for choice, inner in value.values.items())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {source(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(source, value)) + "]"
    return repr(value)


def literally(value: Any) -> Any:
    """As YAML says it where templates are read: templates as texts, braces in other texts written twice."""
    if isinstance(value, Template):
        return value.text
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, Mapping):
        return {str(key): literally(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [literally(inner) for inner in value]
    return value


def lift(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` of the arguments; where one is by choice, so is the result."""
    for position, argument in enumerate(arguments):
        if isinstance(argument, ByChoice):
            return simplified(
                ByChoice(
                    argument.option,
                    {
                        choice: lift(
                            function,
                            *(chosen(other, argument.option, choice) for other in arguments[:position]),
                            value,
                            *(chosen(other, argument.option, choice) for other in arguments[position + 1 :]),
                        )
                        for choice, value in argument.values.items()
                    },
                )
            )
    return function(*arguments)


def chosen(value: Any, option: str, choice: str) -> Any:
    """The value where `option` has been chosen to be `choice`."""
    if isinstance(value, ByChoice) and value.option == option:
        return value.values.get(choice, MISSING)
    return value


def simplified(value: ByChoice) -> Any:
    """One value where all choices have the same."""
    first, *others = value.values.values()
    return first if all(_same(first, other) for other in others) else value


def hoisted(value: Any) -> Any:
    """A list with a choice somewhere inside as a choice between lists."""
    option = next(_choices_inside(value), None)
    if option is None or isinstance(value, ByChoice):
        return value
    return ByChoice(
        option.option, {choice: hoisted(_settled(value, option.option, choice)) for choice in option.values}
    )


def _choices_inside(value: Any) -> Iterator[ByChoice]:
    if isinstance(value, ByChoice):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _choices_inside(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _choices_inside(inner)


def _settled(value: Any, option: str, choice: str) -> Any:
    """The value with every choice of that option made."""
    if isinstance(value, Mapping):
        made = {key: _settled(inner, option, choice) for key, inner in value.items()}
        return {key: inner for key, inner in made.items() if inner is not MISSING}
    if isinstance(value, (list, tuple)):
        return [_settled(inner, option, choice) for inner in value]
    return chosen(value, option, choice)


def either(option: str, truths: Mapping[str, bool], yes: Any, no: Any) -> Any:
    """`yes` for choices that are true, `no` for the others; mappings key by key."""
    if _same(yes, no):
        return yes
    if isinstance(yes, dict) and isinstance(no, dict):
        keys = dict.fromkeys([*yes, *no])
        return {key: either(option, truths, yes.get(key, MISSING), no.get(key, MISSING)) for key in keys}
    picked = {choice: chosen(yes if true else no, option, choice) for choice, true in truths.items()}
    return simplified(ByChoice(option, picked))


def is_mapping(value: Any) -> bool:
    """Whether it is a mapping whatever is chosen."""
    if isinstance(value, ByChoice):
        return all(isinstance(each, dict) or each is MISSING for each in value.values.values())
    return isinstance(value, dict)


def opened(value: Any) -> Any:
    """A choice between mappings as one mapping of choices, all the way down."""
    if isinstance(value, ByChoice) and is_mapping(value):
        value = merged({}, value)
    return {key: opened(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def merged(base: dict[str, Any], more: Any) -> dict[str, Any]:
    """`{**base, **more}`, also where `more` is by choice."""
    if isinstance(more, ByChoice) and is_mapping(more):
        each_of = {choice: {} if each is MISSING else each for choice, each in more.values.items()}
        for key in dict.fromkeys(key for each in each_of.values() for key in each):
            below = base.get(key, MISSING)
            values = {
                choice: deepcopy(each[key]) if key in each else chosen(below, more.option, choice)
                for choice, each in each_of.items()
            }
            base[key] = simplified(ByChoice(more.option, values))
    elif isinstance(more, dict):
        base.update(deepcopy(more))
    return base


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
