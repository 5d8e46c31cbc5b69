"""Commands of administrators: drain, backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import output
from .exits import FAILED, USAGE, Exit
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
        there = "is" if view.clusters == 1 else "are"
        click.echo(f"not draining: new clusters are taken; there {there} {left}")
        return
    told = f": {view.message}" if view.message else ""
    click.echo(f"draining since {output.clock(view.since or 0)} by {view.by}{told}; {left} left")


data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Data directory of the server.  [default: the usual one]"
)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@data_dir_option
def backup_command(file: Path, data_dir: Path | None) -> None:
    """Write database and keys to FILE (tar.gz, for its owner only). The server may run meanwhile.

    FILE holds secrets: with it one can act as the server and as every user of it.
    """
    from ..server.backup import back_up
    from ..server.directories import directories
    from ..server.startup import CannotStart

    try:
        back_up(directories(data_dir), file.absolute())
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    click.echo(f"{file}: {file.stat().st_size / 1e3:,.0f} kB", err=True)


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@data_dir_option
def restore_command(file: Path, data_dir: Path | None) -> None:
    """Put a backup in the place of what is there, while the server does not run.

    At its next start the server finds clusters of the backup that still run; what was started later it ends.
    """
    from ..server.backup import restore
    from ..server.directories import directories
    from ..server.startup import CannotStart

    try:
        kept = restore(directories(data_dir), file)
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    click.echo("restored" + (f"; the database that was there is {kept} now" if kept else ""), err=True)
