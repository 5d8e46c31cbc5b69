"""Which server a command talks to: the one named, the one configured, or the one that runs on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .exits import UNREACHABLE, USAGE, Exit

if TYPE_CHECKING:
    from ..client.async_gateway import AsyncGateway

T = TypeVar("T")


def with_gateway(work: Callable[[AsyncGateway], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine with a gateway that is closed afterwards."""
    import asyncio

    async def run() -> T:
        async with find_gateway() as gateway:
            return await work(gateway)

    return asyncio.run(run())


def find_gateway() -> AsyncGateway:
    """The gateway that the command's options, Dask's configuration or this machine's server name.

    raises  Exit where none does, or what names it is wrong
    """
    from ..client.async_gateway import AsyncGateway

    params = click.get_current_context().params
    try:
        return AsyncGateway(params.get("address") or _configured(params.get("data_dir")))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise Exit(str(error), USAGE) from error


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which every client command finds its server."""
    command = click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Data directory of a server on this machine.  [default: the usual one]",
    )(command)
    return click.option(
        "--address",
        help="The server's address, with ?token=... or not.  [default: as configured, then this machine's server]",
    )(command)


def _configured(data_dir: Path | None) -> str | None:
    """None where Dask's configuration names a server; else the address of the one that runs here."""
    from ..client import config

    if data_dir is None and config.setting("address"):
        return None
    return _local_server(data_dir)


def _local_server(data_dir: Path | None) -> str:
    try:
        from ..server.directories import directories
    except ModuleNotFoundError:
        raise Exit("no server is configured: pass --address, or set DASK_SLUICE__ADDRESS", UNREACHABLE) from None
    places = directories(data_dir)
    try:
        proxy = json.loads(places.proxy_file.read_text())
        token = (places.data / "token").read_text().strip()
    except OSError:
        raise Exit(
            f"no server is configured, and none runs on this machine for {os.path.expanduser('~')} "
            f"(looked in {places.data}).\nStart one: dask-sluice serve. Or name one: --address http://...",
            UNREACHABLE,
        ) from None
    host = "127.0.0.1" if proxy["address"] in ("0.0.0.0", "::", "") else proxy["address"]
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{proxy['port']}/?token={token}"
