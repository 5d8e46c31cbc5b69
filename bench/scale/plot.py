"""Cost against number, both on scales of tens, as an SVG: `python -m bench.scale.plot` after `python -m bench.scale`.

A line that rises no steeper than the grey one grows no faster than the number.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from html import escape
from pathlib import Path

from bench.scale.__main__ import LATEST

TARGET = Path(__file__).parents[2] / "docs" / "images" / "scale.svg"
SHOWN = {
    "restart: all reconciled": "s",
    "at rest: one core busy": "%",
    "processor time of one event": "ms",
    "links: one core busy, a report each 15 s, proxy included": "%",
    "links: all back after a restart": "s",
}
COLOURS = ("#1b6ca8", "#c0392b", "#27803b", "#8e44ad", "#b9770e")
LEFT, TOP, SIDE = 50, 20, 320
TENS_X, TENS_Y = (1, 4), (-2, 3)


def svg(figures: list[dict[str, object]]) -> str:
    """The picture."""
    lines: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for figure in figures:
        if figure["name"] in SHOWN and figure["database"] == "sqlite":
            number, value = float(str(figure["number"])), float(str(figure["value"]))
            lines[str(figure["name"])].append(_place(number, max(value, 10.0 ** TENS_Y[0])))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + SIDE + 400}" height="{TOP + SIDE + 40}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_grid(),
    ]
    for (name, points), colour in zip(sorted(lines.items()), COLOURS, strict=False):
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in sorted(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = TOP + 14 + 20 * COLOURS.index(colour)
        text = escape(f"{name}, {SHOWN[name]}")
        parts.append(f'<text x="{LEFT + SIDE + 15}" y="{row}" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _place(number: float, value: float) -> tuple[float, float]:
    x = (math.log10(number) - TENS_X[0]) / (TENS_X[1] - TENS_X[0])
    y = (math.log10(value) - TENS_Y[0]) / (TENS_Y[1] - TENS_Y[0])
    return LEFT + SIDE * x, TOP + SIDE * (1 - y)


def _grid() -> list[str]:
    parts = []
    for tens in range(TENS_X[0], TENS_X[1] + 1):
        x, _ = _place(10.0**tens, 1)
        parts.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{TOP + SIDE}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{TOP + SIDE + 18}" text-anchor="middle">{10**tens:,}</text>')
    for tens in range(TENS_Y[0], TENS_Y[1] + 1):
        _, y = _place(10, 10.0**tens)
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + SIDE}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{10.0**tens:g}</text>')
    (x1, y1), (x2, y2) = _place(10, 0.1), _place(10_000, 100)
    parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#999" stroke-dasharray="4"/>')
    return parts


def main() -> int:
    TARGET.write_text(svg(json.loads(LATEST.read_text())))
    print(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
