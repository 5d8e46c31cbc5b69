"""Commands of administrators about a server at work: drain."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .exits import USAGE, Exit
from .finding import server_options, with_gateway


@click.command("drain")
@click.option("--off", is_flag=True, help="Take new clusters again.")
@click.option("--show", is_flag=True, help="Change nothing; say how things are.")
@click.option("-m", "--message", default="", help="What users are told besides: why, until when.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@server_options
def drain_command(off: bool, show: bool, message: str, as_json: bool, **server: Any) -> None:
    """Take no new clusters; those that there are, and those already accepted, run on. Outlives a restart."""
    if (off and (show or message)) or (show and message):
        raise Exit("--off, --show and --message exclude one another", USAGE)
    view = with_gateway(lambda gateway: gateway.drain(on=None if show else not off, message=message))
    if as_json:
        output.as_json(view)
        return
    left = f"{view.clusters} cluster{'' if view.clusters == 1 else 's'}"
    if not view.draining:
        click.echo(f"not draining: new clusters are taken; there are {left}")
        return
    told = f": {view.message}" if view.message else ""
    click.echo(f"draining since {output.clock(view.since or 0)} by {view.by}{told}; {left} left")
