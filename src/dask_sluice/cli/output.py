"""Tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {
    "running": "green",
    "starting": "yellow",
    "pending": "yellow",
    "stopping": "yellow",
    "retiring": "yellow",
    "failed": "red",
    "stopped": "dim",
}


def as_json(value: Any) -> None:
    """Print dataclasses, lists of them and plain values as JSON."""

    def plain(item: Any) -> Any:
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) and not isinstance(item, type) else str(item)

    click.echo(json.dumps(value, default=plain, indent=2, ensure_ascii=False))


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table without lines; where output is no terminal, columns are as wide as they need to be."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000
    grid = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def state(value: str) -> Text:
    """A state in its colour."""
    return Text(value, style=_STYLES.get(value, ""))


def age(since: float, until: float | None = None) -> str:
    """A span of time in one or two words: `12 s`, `5 min`, `3 h 20 min`, `2 d`."""
    seconds = max(0, int((until or time.time()) - since))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d"


def clock(seconds: float) -> str:
    """Local time of day, with the date where it is not today."""
    then = time.localtime(seconds)
    today = time.strftime("%Y-%m-%d", then) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def utc(seconds: float) -> str:
    """A point in time in UTC, which is what reports go by."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
