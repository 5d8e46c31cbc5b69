"""Amounts in the arithmetic of handlers, as people write them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from .symbols import ByChoice, Template


def memory(value: Any) -> Any:
    """`{options.m * 1073741824}` as `{options.m} GiB`, which says what it is."""
    if isinstance(value, ByChoice):
        return ByChoice(value.option, {choice: memory(inner) for choice, inner in value.values.items()})
    if isinstance(value, float):
        return int(value)
    if not (isinstance(value, Template) and value.alone):
        return value
    node = ast.parse(value.inner, mode="eval").body
    while isinstance(node, ast.Call) and len(node.args) == 1:  # floor, round: of bytes
        node = node.args[0]
    factors = list(_factors(node))
    for size, unit in ((2**30, "GiB"), (10**9, "GB"), (2**20, "MiB")):
        for position, factor in enumerate(factors):
            if isinstance(factor, ast.Constant) and factor.value == size:
                rest = [*factors[:position], *factors[position + 1 :]]
                inner = " * ".join(
                    f"({ast.unparse(each)})" if isinstance(each, ast.BinOp) else ast.unparse(each) for each in rest
                )
                return Template(f"{{{inner}}} {unit}", alone=False)
    return value


def _factors(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from _factors(node.left)
        yield from _factors(node.right)
    else:
        yield node
