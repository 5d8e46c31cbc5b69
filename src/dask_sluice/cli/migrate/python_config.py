"""dask-gateway's configuration in Python, read without running it: what is set, the options, the handler.

Statements are followed as far as they can be: assignments, tables, `if` over an option's value, helper functions.
What a branch does that we cannot decide is kept as an `Opaque`, and said.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .evaluate import Evaluator, NotStatic, Scope, spread
from .report import Report, Where
from .symbols import ByChoice, Function, Opaque, Template, either, is_plain, uses

_SLOW = ("requests", "httpx", "urllib", "ldap", "ldap3", "subprocess", "aiohttp", "socket", "urllib3")
_DEEPEST = 12
_NOTHING = object()


@dataclass(frozen=True)
class Assigned:
    """`c.Class.trait = value`."""

    key: str
    value: Any
    where: Where


@dataclass(frozen=True)
class Guard:
    """`if test: raise ...`: what a handler refuses."""

    test: str
    where: Where
    uses: frozenset[str]


class PythonConfig(Evaluator):
    """Follows one configuration; `assigned`, `guards` and the report hold what was found."""

    def __init__(self, report: Report) -> None:
        super().__init__(lambda line: self._where(line))
        self.report = report
        self.assigned: list[Assigned] = []
        self.shared: list[Assigned] = []
        """Set for everybody while one user's options are handled."""
        self.guards: list[Guard] = []
        self.scope: Scope = {}
        self._where: Callable[[int], Where] = lambda line: Where()
        self._depth = 0

    def read(self, text: str, where: Callable[[int], Where]) -> None:
        """Follow a text; several texts share their names, as blocks of `extraConfig` do."""
        self._where = where
        try:
            module = ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = getattr(error, "lineno", None) or 1
            self.report.add("decide", f"is not Python, so nothing of it was read: {error}", where=where(line))
            return
        self._body(module.body, self.scope)

    def run(self, function: Function, arguments: Mapping[str, Any]) -> Any:
        """What the function gives back for these arguments."""
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise NotStatic
            names = [each.arg for each in (*function.node.args.args, *function.node.args.kwonlyargs)]
            scope = {**function.scope, **{name: arguments[name] for name in names if name in arguments}}
            for name, default in zip(
                reversed(function.node.args.args), reversed(function.node.args.defaults), strict=False
            ):
                if name.arg not in arguments:
                    scope[name.arg] = self.evaluate(default, function.scope)
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, scope)
            result = self._body(function.node.body, scope)
            return None if result is _NOTHING else result
        finally:
            self._depth -= 1

    def _body(self, body: Sequence[ast.stmt], scope: Scope) -> Any:
        """Follow statements; the value returned, or `_NOTHING`."""
        for position, statement in enumerate(body):
            match statement:
                case ast.Return(value=value):
                    return None if value is None else self.evaluate(value, scope)
                case ast.If():
                    result = self._if(statement, body[position + 1 :], scope)
                    if result is not _NOTHING:
                        return result
                case ast.Try(body=inner, orelse=orelse, finalbody=final):
                    if (result := self._body([*inner, *orelse, *final], scope)) is not _NOTHING:
                        return result
                case ast.For() | ast.While() if _returns(statement):
                    return self.opaque(statement, scope)
                case ast.With(body=inner) | ast.AsyncWith(body=inner):
                    if (result := self._body(inner, scope)) is not _NOTHING:
                        return result
                case _:
                    self._statement(statement, scope)
        return _NOTHING

    def _statement(self, statement: ast.stmt, scope: Scope) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                scope[name] = Function(statement, scope)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                self._import(statement, names, scope)
            case ast.Assign(targets=targets, value=value):
                result = self.evaluate(value, scope)
                for target in targets:
                    self._assign(target, result, statement, scope)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._assign(target, self.evaluate(value, scope), statement, scope)
            case ast.AugAssign(target=target, op=op, value=value):
                whole = ast.BinOp(target, op, value)
                ast.copy_location(whole, statement)
                self._assign(target, self.evaluate(whole, scope), statement, scope)
            case ast.Expr(value=ast.Call() as call):
                self._effect(call, scope)
            case ast.For() | ast.While():
                self._loop(statement, scope)
            case ast.ClassDef():
                self._class(statement, scope)

    def _class(self, statement: ast.ClassDef, scope: Scope) -> None:
        where, bases = self.where(statement.lineno), ", ".join(map(ast.unparse, statement.bases))
        scope[statement.name] = Opaque(f"class {statement.name}({bases})", where)
        methods = [each.name for each in statement.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
        caps = " A cap on how many clusters a user has is limits.user.clusters." if "start_cluster" in methods else ""
        what = (
            f"is code of your own ({', '.join(methods) or 'no methods'}), which settings cannot say in general.{caps}"
        )
        self.report.add("decide", what, f"class {statement.name}({bases})", where)

    def _import(self, statement: ast.stmt, names: Sequence[ast.alias], scope: Scope) -> None:
        module = getattr(statement, "module", None) or ""
        where = self.where(statement.lineno)
        for alias in names:
            whole = module or alias.name
            if whole.startswith("dask_gateway_server") or alias.name == "*":
                continue
            name = alias.asname or alias.name.partition(".")[0]
            scope[name] = Opaque(name, where)
            if whole.partition(".")[0] in _SLOW:
                self.report.add(
                    "changes",
                    f"{whole} is slow work that held up the whole server for everybody; here it belongs into "
                    "policy.hook or policy.options_hook, which run apart, with a deadline and a cached last answer",
                    "import",
                    where,
                )

    def _assign(self, target: ast.expr, value: Any, statement: ast.stmt, scope: Scope) -> None:
        where = self.where(statement.lineno)
        match target:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="c"), attr=name), attr=trait) if "c" not in scope:
                self._set(f"{name}.{trait}", value, where)
            case ast.Name(id="c"):
                pass  # `c = get_config()`
            case ast.Subscript(value=container, slice=key):
                self._put(container, self.evaluate(key, scope), value, scope, where)
            case ast.Attribute():
                self.report.add(
                    "decide", "sets an attribute of an object, which was not followed", ast.unparse(target), where
                )
            case _:
                try:
                    self.bind(target, deepcopy(value), scope)
                except NotStatic:
                    for name in _names(target):
                        scope[name] = self.opaque(getattr(statement, "value", target), scope)

    def _set(self, key: str, value: Any, where: Where) -> None:
        if self._depth:
            self.report.add(
                "wrong",
                "is changed for everybody while one user's options are handled: two users at once got each other's "
                "values. Here a value belongs to one cluster: policy.everyone with templates such as {user.name}, or "
                "policy.hook",
                f"c.{key}",
                where,
            )
            self.shared.append(Assigned(key, value, where))
            return
        self.assigned.append(Assigned(key, value, where))

    def _put(self, container: ast.expr, key: Any, value: Any, scope: Scope, where: Where) -> None:
        match container:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="c"), attr=name), attr=trait) if "c" not in scope:
                return self._set(f"{name}.{trait}", {key: value} if is_plain(key) else Opaque("?", where), where)
        found = self.evaluate(container, scope)
        if isinstance(found, (Template, Opaque)) and isinstance(container, ast.Name):
            found = scope[container.id] = spread({}, found)
        for each in found.values.values() if isinstance(found, ByChoice) else [found]:
            if isinstance(each, dict) and isinstance(key, (str, int)):
                each.pop(key, None)  # last wins, and stands last
                each[key] = value
            else:
                self.report.add("decide", "was not understood", f"{ast.unparse(container)}[...]", where)
        return None

    def _effect(self, call: ast.Call, scope: Scope) -> None:
        """A call for what it does: `config.update(...)`, `c.Class.trait.update(...)`."""
        where = self.where(call.lineno)
        match call.func:
            case ast.Attribute(
                value=ast.Attribute(value=ast.Attribute(value=ast.Name(id="c"), attr=name), attr=trait),
                attr="update" | "append" | "extend",
            ) if "c" not in scope:
                self._set(f"{name}.{trait}", self.evaluate(call.args[0], scope) if call.args else {}, where)
                return
            case ast.Attribute(value=container, attr=("update" | "append" | "setdefault" | "extend" | "pop") as name):
                if self._mutated(self.evaluate(container, scope), name, call, scope):
                    return
        if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("info", "debug", "warning", "error")):
            self.report.add("decide", "was not understood, and is not carried over", ast.unparse(call)[:200], where)

    def _mutated(self, container: Any, name: str, call: ast.Call, scope: Scope) -> bool:
        arguments = [self.evaluate(each, scope) for each in call.args]
        named = {each.arg: self.evaluate(each.value, scope) for each in call.keywords if each.arg is not None}
        if isinstance(container, dict) and name == "update":
            for each in (*arguments, named):
                spread(container, each)
            return True
        if isinstance(container, dict) and name in ("setdefault", "pop") and arguments and is_plain(arguments[0]):
            container.setdefault(*arguments) if name == "setdefault" else container.pop(arguments[0], None)
            return True
        if isinstance(container, list) and name in ("append", "extend") and len(arguments) == 1:
            container.extend(arguments[0] if name == "extend" and isinstance(arguments[0], list) else arguments)
            return True
        return False

    def _loop(self, statement: ast.For | ast.While, scope: Scope) -> None:
        """A loop over values that stand in the text is followed; of another one, what it changes is not known."""
        items = self.evaluate(statement.iter, scope) if isinstance(statement, ast.For) else None
        if isinstance(items, (list, dict)) and isinstance(statement, ast.For) and len(items) < 200:
            for item in list(items):
                self._assign(statement.target, item, statement, scope)
                self._body(statement.body, scope)
            return
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    for name in _names(target):
                        scope[name] = self.opaque(statement, scope)

    def _if(self, statement: ast.If, rest: Sequence[ast.stmt], scope: Scope) -> Any:
        test = self.evaluate(statement.test, scope)
        if _only_raises(statement.body):
            where = self.where(statement.lineno)
            found = uses(self.opaque(statement.test, scope))
            self.guards.append(Guard(ast.unparse(statement.test), where, found))
            return self._body(statement.orelse, scope)
        if is_plain(test):
            return self._body(statement.body if test else statement.orelse, scope)
        if isinstance(test, Template) and test.alone and not statement.orelse:
            # `if options.image:` around what uses it; an empty value says nothing here either.
            return self._body(statement.body, scope)
        truths = _truths(test)
        if self.is_tired:
            return self.opaque(statement, scope)
        before = dict(scope)
        first, second = _copied(scope), _copied(scope)
        if _returns(statement):  # each way goes on to its own end
            yes, no = self._body([*statement.body, *rest], first), self._body([*statement.orelse, *rest], second)
            yes, no = (None if each is _NOTHING else each for each in (yes, no))
            return self._joined(truths, yes, no, statement.test, scope)
        self._body(statement.body, first)
        self._body(statement.orelse, second)
        for name in {**first, **second}:
            if first.get(name, _NOTHING) != before.get(name, _NOTHING) or second.get(name, _NOTHING) != before.get(
                name, _NOTHING
            ):
                scope[name] = self._joined(truths, first.get(name), second.get(name), statement.test, before)
        return _NOTHING

    def _joined(
        self, truths: tuple[str, Mapping[str, bool]] | None, yes: Any, no: Any, test: ast.expr, scope: Scope
    ) -> Any:
        if truths is not None:
            return either(truths[0], truths[1], yes, no)
        if isinstance(yes, dict) and isinstance(no, dict):
            return {key: self._joined(None, yes.get(key), no.get(key), test, scope) for key in {**yes, **no}}
        if type(yes) is type(no) and yes == no:
            return yes
        shown = ", or ".join(_shown(each) for each in (yes, no) if each is not None)
        unknown = self.opaque(test, scope)
        return Opaque(f"{shown} (if {unknown.source})", unknown.where, unknown.uses | uses(yes) | uses(no))


def _truths(test: Any) -> tuple[str, Mapping[str, bool]] | None:
    if isinstance(test, ByChoice) and all(map(is_plain, test.values.values())):
        return test.option, {choice: bool(value) for choice, value in test.values.items()}
    return None


def _copied(scope: Scope) -> Scope:
    """Names for one branch: what it changes in place stays its own."""
    return {
        name: deepcopy(value) if isinstance(value, (dict, list, ByChoice)) else value for name, value in scope.items()
    }


def _returns(statement: ast.stmt) -> bool:
    """Whether the function around the statement may end within it."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    inner = (each for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt))
    return isinstance(statement, ast.Return) or any(map(_returns, inner))


def _only_raises(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Raise) and not any(isinstance(each, ast.Return) for each in body)


def _names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id


def _shown(value: Any) -> str:
    if isinstance(value, Template):
        return value.text
    return value.source if isinstance(value, Opaque) else repr(value)
