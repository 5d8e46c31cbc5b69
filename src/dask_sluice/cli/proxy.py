"""`dask-sluice proxy`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .exits import FAILED, USAGE, Exit
from .serve import settings_of

_SERVER = re.compile(r"http://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?")
_LEAST_TOKEN = 16


@click.command("proxy")
@click.option(
    "--server",
    "servers",
    multiple=True,
    required=True,
    metavar="URL",
    help="Where a server waits for proxies, http://HOST:PORT. Several: the next one is asked where one fails.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    required=True,
    help="File with the secret that servers and proxies share.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file with settings; of it `listen` and `log` are used."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.  [default: 8000]")
@click.option(
    "--grace", type=click.FloatRange(0), default=5.0, help="Seconds that what is carried may go on after SIGTERM.  [5]"
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
def proxy_command(
    servers: Sequence[str],
    token_file: Path,
    config: Path | None,
    host: str | None,
    port: int | None,
    grace: float,
    log_level: str | None,
) -> None:
    """Run the public port apart from the servers, which have `listen.for_proxies` set.

    Connections to schedulers depend on no server. `/health/proxy` says whether the routes are known, and
    `/health/proxy/live` whether a proxy answers. Ends by SIGTERM; a second one cuts what is still carried.
    """
    if sys.version_info < (3, 11):
        raise Exit("`dask-sluice proxy` needs Python 3.11 or newer", FAILED)
    for server in servers:
        if not _SERVER.fullmatch(server):
            raise Exit(f"--server must be an address such as http://server:8000, not {server!r}", USAGE)
    token = _token(token_file)
    settings = settings_of(config, {"address": host, "port": port}, None, log_level)
    from ..server.proxies_alone import run_proxies
    from ..server.startup import CannotStart

    try:
        asyncio.run(run_proxies(settings, servers, token, grace_s=grace, announce=click.echo))
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    click.echo("stopped", err=True)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Exit(f"the token file cannot be read: {error}", USAGE) from error
    if len(token) < _LEAST_TOKEN:
        raise Exit(f"the token in {path} has {len(token)} characters; it needs at least {_LEAST_TOKEN}", USAGE)
    return token
