"""Rows of the common table: what was measured, whether it is as good as it must be, how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""`name, unit, ours, stock, direct, ratio_to_stock, goal, met`; a number that does not apply is None."""


def row(
    name: str,
    unit: str,
    *,
    ours: float,
    stock: float | None,
    direct: float | None = None,
    at_most_ratio: float | None = None,
    at_most: float | None = None,
) -> Row:
    """Smaller is better in all of them. The goal is a ratio to stock, or a figure in the row's unit, or none."""
    ratio = ours / stock if stock else None
    met: bool | None = None
    goal = ""
    if at_most_ratio is not None and ratio is not None:
        goal, met = f"<= {at_most_ratio:g} x stock", ratio <= at_most_ratio
    elif at_most is not None:
        goal, met = f"< {at_most:g} {unit}", ours < at_most
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 4),
        "stock": None if stock is None else round(stock, 4),
        "direct": None if direct is None else round(direct, 4),
        "ratio_to_stock": None if ratio is None else round(ratio, 3),
        "goal": goal,
        "met": met,
    }


def shown(rows: Sequence[Row]) -> str:
    """The table for people."""
    width = max(len(f"{each['name']}, {each['unit']}") for each in rows)
    lines = [f"{'':{width}}{'ours':>10}{'stock':>10}{'direct':>10}{'ratio':>8}  goal"]
    for each in rows:
        numbers = "".join(f"{_number(each[who]):>10}" for who in ("ours", "stock", "direct"))
        verdict = "" if each["met"] is None else ": met" if each["met"] else ": NOT MET"
        title = f"{each['name']}, {each['unit']}"
        lines.append(f"{title:{width}}{numbers}{_number(each['ratio_to_stock']):>8}  {each['goal']}{verdict}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.3g}"
