"""Expressions of Python, understood without running them: literals, sums, tables, texts, `Options(...)`.

Only what is written below is done, on values that stand in the text itself: nothing is imported, no attribute of any
object is looked up, and numbers and texts stay small. What is beyond that becomes an `Opaque` with its text.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from ...server.arithmetic import CALLS, SUMS
from .report import Where
from .symbols import (
    MISSING,
    ByChoice,
    Field,
    Function,
    Opaque,
    OptionsValue,
    Parameter,
    Template,
    is_plain,
    lift,
    merged,
    uses,
)

FIELDS: Mapping[str, tuple[str, ...]] = {
    "Integer": ("field", "default", "min", "max", "label", "target"),
    "Float": ("field", "default", "min", "max", "label", "target"),
    "String": ("field", "default", "label", "target"),
    "Bool": ("field", "default", "label", "target"),
    "Select": ("field", "options", "default", "label", "target"),
    "Mapping": ("field", "default", "label", "target"),
}
"""dask-gateway's kinds of options with the order of their arguments."""
Scope = dict[str, Any]
_LARGEST = 1e18
_LONGEST = 20_000
_STEPS = 20_000
_SUMS: Mapping[type, Callable[[Any, Any], Any]] = {**SUMS, ast.Mod: operator.mod, ast.Pow: operator.pow}
"""More than templates can say: what is plain comes out as a number, and the rest must be said otherwise."""
_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    **CALLS,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "abs": abs,
    "len": len,
    "sum": sum,
    "list": list,
    "tuple": tuple,
    "sorted": sorted,
}
_METHODS: Mapping[type, tuple[str, ...]] = {
    dict: ("get", "keys", "values", "items", "copy"),
    str: ("format", "join", "lower", "upper", "strip", "replace", "split", "startswith", "endswith", "title"),
    list: ("index", "copy"),
}
_IN_TEMPLATES = tuple(CALLS)


class NotStatic(Exception):
    """An expression is beyond us."""


class Evaluator:
    """Understands expressions; `where` gives the place of a line of the text."""

    def __init__(self, where: Callable[[int], Where]) -> None:
        self.where = where
        self._steps = 0

    def run(self, function: Function, arguments: Mapping[str, Any]) -> Any:
        """What a function gives back."""
        raise NotImplementedError

    @property
    def is_tired(self) -> bool:
        """Whether so much was done that the text must be meant to go on for ever."""
        return self._steps > _STEPS

    def evaluate(self, node: ast.expr, scope: Scope) -> Any:
        """The value of an expression, or what depends on a user's choice, or an `Opaque`."""
        self._steps += 1
        try:
            return self.opaque(node, scope) if self.is_tired else self._evaluate(node, scope)
        except (NotStatic, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return self.opaque(node, scope)

    def opaque(self, node: ast.AST, scope: Scope) -> Opaque:
        """The text of the expression, with everything that it depends on."""
        names: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
                if isinstance(base := scope.get(inner.value.id), Parameter):
                    names.add(f"{base.name}.{inner.attr}")
            elif isinstance(inner, ast.Name) and not isinstance(found := scope.get(inner.id), Function):
                names |= uses(found)
        return Opaque(ast.unparse(node), self.where(getattr(node, "lineno", 0)), frozenset(names))

    def _evaluate(self, node: ast.expr, scope: Scope) -> Any:
        match node:
            case ast.Constant(value=value) if value is None or isinstance(value, (str, int, float, bool)):
                return value
            case ast.Name(id=name):
                if name not in scope:
                    raise NotStatic
                return scope[name]
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return [value for item in items for value in self._item(item, scope)]
            case ast.Dict():
                return self._dict(node, scope)
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if isinstance(scope.get(name), Parameter):
                return self._of_parameter(scope[name], attr)
            case ast.BinOp():
                return self._sum(node, scope)
            case ast.UnaryOp(op=sign, operand=operand):
                return lift(lambda value: _signed(sign, value), self.evaluate(operand, scope))
            case ast.Compare(left=left, ops=[comparison], comparators=[right]):
                both = self.evaluate(left, scope), self.evaluate(right, scope)
                return lift(lambda one, other: _compared(comparison, one, other), *both)
            case ast.BoolOp(op=op, values=values):
                return self._logic(op, [self.evaluate(each, scope) for each in values])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                branches = self.evaluate(body, scope), self.evaluate(orelse, scope)
                return lift(_picked, self.evaluate(test, scope), *branches)
            case ast.Subscript(value=value, slice=key):
                return self._item_of(value, key, scope)
            case ast.JoinedStr(values=parts):
                return lift(_text, *(self._part(part, scope) for part in parts))
            case ast.ListComp() | ast.DictComp() | ast.GeneratorExp():
                return self._comprehension(node, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Lambda():
                return Function(node, scope)
        raise NotStatic

    def _item(self, node: ast.expr, scope: Scope) -> list[Any]:
        if not isinstance(node, ast.Starred):
            return [self.evaluate(node, scope)]
        value = self.evaluate(node.value, scope)
        if not isinstance(value, list):
            raise NotStatic
        return value

    def _dict(self, node: ast.Dict, scope: Scope) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in zip(node.keys, node.values, strict=False):
            inner = self.evaluate(value, scope)
            if key is None:
                result = spread(result, inner)
                continue
            name = self.evaluate(key, scope)
            if not is_plain(name):
                raise NotStatic
            result[name] = inner
        return result

    @staticmethod
    def _of_parameter(parameter: Parameter, attr: str) -> Any:
        if parameter.values is None:
            return Template(f"{{{parameter.name}.{attr}}}")
        if attr not in parameter.values:
            raise NotStatic
        return parameter.values[attr]

    def _sum(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.evaluate(node.left, scope), self.evaluate(node.right, scope)
        return lift(lambda one, other: _added(node.op, one, other), left, right)

    @staticmethod
    def _logic(op: ast.boolop, values: list[Any]) -> Any:
        def of_two(one: Any, other: Any) -> Any:
            if not (is_plain(one) and is_plain(other)):
                raise NotStatic
            return (one and other) if isinstance(op, ast.And) else (one or other)

        result = values[0]
        for value in values[1:]:
            result = lift(of_two, result, value)
        return result

    def _item_of(self, value: ast.expr, key: ast.expr, scope: Scope) -> Any:
        if isinstance(key, ast.Slice):
            raise NotStatic
        if isinstance(value, ast.Name) and isinstance(parameter := scope.get(value.id), Parameter):
            return self._of_parameter(parameter, self.evaluate(key, scope))
        return lift(_looked_up, self.evaluate(value, scope), self.evaluate(key, scope))

    def _part(self, node: ast.expr, scope: Scope) -> Any:
        return self.evaluate(node.value, scope) if isinstance(node, ast.FormattedValue) else self.evaluate(node, scope)

    def _comprehension(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp, scope: Scope) -> Any:
        if len(node.generators) != 1 or node.generators[0].is_async:
            raise NotStatic
        loop = node.generators[0]
        result: list[Any] = []
        for item in _items(self.evaluate(loop.iter, scope)):
            inner = dict(scope)
            self.bind(loop.target, item, inner)
            tests = [self.evaluate(test, inner) for test in loop.ifs]
            if not all(map(is_plain, tests)):
                raise NotStatic
            if not all(tests):
                continue
            if isinstance(node, ast.DictComp):
                result.append((self.evaluate(node.key, inner), self.evaluate(node.value, inner)))
            else:
                result.append(self.evaluate(node.elt, inner))
        return dict(result) if isinstance(node, ast.DictComp) else result

    def bind(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Give the value to a name, or its items to names."""
        if isinstance(target, ast.Name):
            scope[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (list, tuple)):
            if len(target.elts) != len(value):
                raise NotStatic
            for inner, item in zip(target.elts, value, strict=False):
                self.bind(inner, item, scope)
        else:
            raise NotStatic

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        function = node.func
        name = (
            function.id
            if isinstance(function, ast.Name)
            else function.attr
            if isinstance(function, ast.Attribute)
            else ""
        )
        arguments = [value for each in node.args for value in self._item(each, scope)]
        named: dict[str, Any] = {}
        for each in node.keywords:
            value = self.evaluate(each.value, scope)
            named = spread(named, value) if each.arg is None else {**named, each.arg: value}
        own = scope.get(name) if isinstance(function, ast.Name) else None
        where = self.where(node.lineno)
        if isinstance(own, Function):
            return self._own(own, arguments, named, node, scope)
        if name in FIELDS and own is None:
            given = {**dict(zip(FIELDS[name], arguments, strict=False)), **named}
            return Field(name, given.pop("field", None), given, where)
        if name == "Options" and own is None:
            return OptionsValue(tuple(arguments), named.get("handler"), where)
        if name == "dict" and own is None:
            return spread(spread({}, arguments[0]) if arguments else {}, named)
        if name in ("deepcopy", "copy", "dict") and len(arguments) == 1:
            return deepcopy(arguments[0])
        if name == "range" and all(isinstance(each, int) and abs(each) < 1000 for each in arguments):
            return list(range(*arguments))
        if isinstance(function, ast.Attribute):
            base = self.evaluate(function.value, scope)
            if not isinstance(base, Opaque):
                return lift(lambda one, *rest: _method(one, name, rest, named), base, *arguments)
        if name in _CALLS and (own is None or isinstance(own, Opaque)):
            return lift(lambda *rest: _called(name, rest, named), *arguments)
        raise NotStatic

    def _own(
        self, function: Function, arguments: list[Any], named: Mapping[str, Any], node: ast.Call, scope: Scope
    ) -> Any:
        if arguments == [Template("{user.name}")] and _says_escape(function.name):
            return Template("{user.escaped}")
        names = [each.arg for each in function.node.args.args]
        result = self.run(function, {**dict(zip(names, arguments, strict=False)), **named})
        return self.opaque(node, scope) if isinstance(result, Opaque) else result


def spread(base: dict[str, Any], more: Any) -> dict[str, Any]:
    """`{**base, **more}`; what is not known yet stands under its own text, in its order."""
    if isinstance(more, Opaque):
        base[f"**{more.source}"] = more
    elif isinstance(more, Template):
        base[f"**{more.text}"] = more
    elif isinstance(more, (dict, ByChoice)):
        merged(base, more)
    else:
        raise NotStatic
    return base


def _says_escape(name: str) -> bool:
    return any(part in name.lower() for part in ("escap", "safe", "slug", "label", "sanit"))


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise NotStatic


def _signed(op: ast.unaryop, value: Any) -> Any:
    if isinstance(op, ast.Not) and is_plain(value):
        return not value
    if isinstance(op, ast.USub) and isinstance(value, (int, float)):
        return -value
    raise NotStatic


def _compared(op: ast.cmpop, one: Any, other: Any) -> Any:
    if not (is_plain(one) and is_plain(other)):
        raise NotStatic
    return _COMPARISONS[type(op)](one, other)


def _picked(test: Any, yes: Any, no: Any) -> Any:
    if not is_plain(test):
        raise NotStatic
    return yes if test else no


def _looked_up(container: Any, key: Any) -> Any:
    if isinstance(container, dict) and isinstance(key, (str, int)):
        return container[key]
    if isinstance(container, (list, tuple)) and isinstance(key, int):
        return container[key]
    raise NotStatic


def _added(op: ast.operator, one: Any, other: Any) -> Any:
    texts = isinstance(one, str) or isinstance(other, str)
    if isinstance(op, ast.Mod) and isinstance(one, str):
        return _percent(one, other)
    if isinstance(one, Template) or isinstance(other, Template):
        if isinstance(op, ast.Add) and (texts or not all(getattr(each, "alone", True) for each in (one, other))):
            return _text(one, other)
        return Template("{" + ast.unparse(ast.BinOp(_inner(one), op, _inner(other))) + "}") if _said(op) else _none()
    if isinstance(one, list) and isinstance(other, list) and isinstance(op, ast.Add):
        return one + other
    if texts and isinstance(op, ast.Add) and len(one) + len(other) < _LONGEST:
        return one + other
    if not texts and isinstance(one, (int, float)) and isinstance(other, (int, float)):
        if isinstance(op, ast.Pow) and (abs(other) > 64 or abs(one) > 2**20):
            raise NotStatic
        result = _SUMS[type(op)](one, other)
        if abs(result) < _LARGEST:
            return result
    raise NotStatic


def _none() -> Any:
    raise NotStatic


def _said(op: ast.operator) -> bool:
    """Whether a template can say this sum."""
    return isinstance(op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv))


def _inner(value: Any) -> ast.expr:
    if isinstance(value, Template) and value.alone:
        return ast.parse(value.inner, mode="eval").body
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ast.Constant(value)
    raise NotStatic


def _text(*parts: Any) -> Any:
    """The parts as one text."""
    if any(isinstance(part, (Opaque, dict, list)) or part is MISSING for part in parts):
        raise NotStatic
    if not any(isinstance(part, Template) for part in parts):
        return "".join(map(str, parts))
    texts = [p.text if isinstance(p, Template) else str(p).replace("{", "{{").replace("}", "}}") for p in parts]
    return Template("".join(texts), alone=len(parts) == 1)


def _percent(pattern: str, values: Any) -> Any:
    """`"%s G" % x` and `"%.1f G" % x`: how numbers are written does not matter to us."""
    import re

    pieces = re.split(r"%[-0-9.]*[sdfgi]", pattern)
    given = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(pieces) != len(given) + 1 or "%" in "".join(pieces):
        raise NotStatic
    return _text(
        *[each for pair in zip(pieces, given, strict=False) for each in pair if each != ""],
        *([pieces[-1]] if pieces[-1] else []),
    )


def _method(base: Any, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    if isinstance(base, str) and name == "format":
        import string

        parts: list[Any] = []
        for position, (text, key, _, _) in enumerate(string.Formatter().parse(base)):
            parts += [text] if text else []
            if key is not None:
                parts.append(named[key] if key in named else arguments[int(key) if key else position])
        return _text(*parts)
    if isinstance(base, Template) and name == "copy":
        return base
    if isinstance(base, dict) and name == "get" and isinstance(arguments[0], (str, int)):
        return base.get(*arguments)
    if not (is_plain(arguments) and not named and name in _METHODS.get(type(base), ())):
        raise NotStatic
    result = getattr(base, name)(*arguments)
    return list(map(list, result)) if name == "items" else list(result) if name in ("keys", "values") else result


def _called(name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    if any(isinstance(each, Template) for each in arguments):
        if name in ("str", "float"):
            return arguments[0]
        called = {"int": "floor"}.get(name, name)
        if called not in _IN_TEMPLATES or named:
            raise NotStatic
        return Template("{" + ast.unparse(ast.Call(ast.Name(called), [_inner(each) for each in arguments], [])) + "}")
    if named or not is_plain(arguments):
        if name in ("list", "tuple", "sorted") and len(arguments) == 1 and not named:
            return _items(arguments[0])
        raise NotStatic
    return _CALLS[name](*arguments)
