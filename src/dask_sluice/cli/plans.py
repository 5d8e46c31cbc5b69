"""A plan for the terminal: what a cluster would get, and where each value comes from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..wire import plans
from ..wire.api import PlanView


def show(plan: PlanView, *, title: str = "", values: bool = True) -> None:
    """Print it; `values` False leaves the table of single values out."""
    console = _console()
    console.print(Text(title or f"What {plan.user} would get; nothing was started", style="bold"))
    grid = Table.grid(padding=(0, 2))
    for word, value in plans.summary(plan):
        grid.add_row(Text(f"  {word}", style="cyan"), Text(value))
    console.print(grid)
    for note in plan.notes:
        console.print(Text(f"  note: {note}", style="yellow"))
    if values:
        console.print()
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in ("KEY", "VALUE", "COMES FROM"):
            table.add_column(heading, overflow="fold")
        for key, value, source in plans.value_rows(plan):
            table.add_row(Text(key, style="cyan"), Text(value, overflow="fold"), Text(source, style="dim"))
        console.print(table)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000
    return console
