"""`dask-sluice usage`: what was used, from the server's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from ..wire.api import UsageReport, UsageRow
from . import output
from .finding import server_options, with_gateway

_HEADINGS = ("CORE-HOURS", "GIB-HOURS", "GPU-HOURS", "COST")


@click.command("usage")
@click.option(
    "--by", default="user", show_default=True, help="user, group, profile, cluster or day; several: user,day."
)
@click.option(
    "--since", help="A date (2026-11-01), a time, both UTC, or how long ago (7d).  [default: the first of this month]"
)
@click.option("--until", help="The same.  [default: now]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "focus"]),
    default="table",
    show_default=True,
    help="focus: FOCUS 1.0, the columns of cloud bills.",
)
@server_options
def usage_command(by: str, since: str | None, until: str | None, form: str, **server: Any) -> None:
    """What I used, and what it costs; for administrators, what everybody used."""
    if form in ("csv", "focus"):
        text = with_gateway(lambda gateway: gateway.usage_csv(by, since, until, focus=form == "focus"))
        click.echo(text, nl=False)
        return
    report = with_gateway(lambda gateway: gateway.usage(by, since, until))
    if form == "json":
        output.as_json(report)
    elif not report.rows:
        click.echo(f"nothing was used {_window(report)}", err=True)
    else:
        click.echo(f"used {_window(report)}", err=True)
        output.table([*(name.upper() for name in report.by), *_HEADINGS], _rows(report))


def _rows(report: UsageReport) -> list[list[str | Text]]:
    """A line for each row, and one for the sum of several in the same currency."""
    rows: list[list[str | Text]] = [_row([row.key[name] or "-" for name in report.by], [row]) for row in report.rows]
    for currency in sorted({row.currency for row in report.rows}):
        same = [row for row in report.rows if row.currency == currency]
        if len(same) > 1:
            names = ["total", *[""] * (len(report.by) - 1)]
            rows.append([Text(str(cell), style="bold") for cell in _row(names, same)])
    return rows


def _row(names: Sequence[str], rows: Sequence[UsageRow]) -> list[str | Text]:
    figures = [
        sum(row.core_hours for row in rows),
        sum(row.memory_gib_hours for row in rows),
        sum(row.gpu_hours for row in rows),
    ]
    cost = sum(row.cost for row in rows)
    return [*names, *(f"{figure:,.2f}" for figure in figures), f"{cost:,.2f} {rows[0].currency}"]


def _window(report: UsageReport) -> str:
    return f"from {output.utc(report.since)} until {output.utc(report.until)}"
