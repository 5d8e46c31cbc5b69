"""`dask-sluice serve`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .exits import FAILED, USAGE, Exit

if TYPE_CHECKING:
    from ..server.settings import Settings


@click.command("serve")
@click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file with settings; `config-reference` lists them."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for database, token, logs.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
def serve_command(
    config: Path | None, host: str | None, port: int | None, data_dir: Path | None, log_level: str | None
) -> None:
    """Start a server on this machine.

    Without a configuration it needs nothing and asks for nothing: clusters run here, and the address that it
    prints holds the token to log in with. What is given here goes before what the file says.
    """
    if sys.version_info < (3, 11):
        raise Exit("the server needs Python 3.11 or newer", FAILED)
    settings = settings_of(config, {"address": host, "port": port}, data_dir, log_level)
    from ..server.app import serve
    from ..server.startup import CannotStart

    try:
        asyncio.run(serve(settings, announce=_announce))
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    click.echo("stopped", err=True)


def _announce(ready: str) -> None:
    """`ready: URL` is the last line; programs wait for it."""
    if sys.stdout.isatty():
        url = ready.removeprefix("ready: ")
        click.echo(
            "\n".join(
                [
                    "",
                    "  dask-sluice is running. In a notebook or a script:",
                    "",
                    "      from dask_sluice import Gateway",
                    f'      gateway = Gateway("{url}")',
                    "",
                    "  The same address in a browser shows your clusters. Ctrl-C stops the server and its clusters.",
                    "",
                ]
            )
        )
    click.echo(ready)
    sys.stdout.flush()


def settings_of(config: Path | None, listen: dict[str, Any], data_dir: Path | None, log_level: str | None) -> Settings:
    """The settings in the file, with what the command line says in their place."""
    from ..server.settings import Settings, SettingsError, load

    try:
        settings = load(config) if config else Settings()
    except SettingsError as error:
        raise Exit(str(error), USAGE) from error
    given = {key: value for key, value in listen.items() if value is not None}
    changes: dict[str, Any] = {"listen": settings.listen.model_copy(update=given)}
    if data_dir is not None:
        changes["data_dir"] = data_dir.absolute()
    if log_level is not None:
        changes["log"] = settings.log.model_copy(update={"level": log_level})
    return settings.model_copy(update=changes)
