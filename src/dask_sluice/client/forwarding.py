"""A file of the notebook that all workers have a copy of, kept up to date: for credentials that live shortly.

It goes over the cluster's own encrypted connections to the scheduler, which hands it to every worker, also to those
that come later. The gateway's servers never see it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client, WorkerPlugin

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""Kubernetes renews its tokens when a fifth of their life is left, two minutes at least."""
MAX_BYTES = 1_000_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Credential(NamedTuple):
    """What a function gives that is asked for one."""

    content: str | bytes
    lifetime_s: float
    """For how many seconds it is good: after half of them the function is asked for the next."""


Source = str | os.PathLike[str] | Callable[[], Credential]


def forward_file(client: Client, variable: str, source: Source) -> Any:
    """Have all workers of a cluster keep a copy of a file, now and later ones.

        forward_file(client, "AWS_WEB_IDENTITY_TOKEN_FILE", os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"])

    variable  the environment variable that names the copy on workers, which only the user of their processes can read
    source    the file, looked at every 30 s for whether it has changed; or a function that returns a `Credential`
    returns   a `ForwardedFile`; to be awaited where the client is asynchronous
    raises    ValueError where `variable` is no name or there is more than 1 MB; what reading the file or the function
              raises
    """
    if not _VARIABLE.fullmatch(variable):
        raise ValueError(f"an environment variable is letters, digits and _ only; got {variable!r}")
    return client.sync(ForwardedFile(client, variable, source)._start)


class ForwardedFile:
    """The copies; they are renewed until this or its client is closed. `forward_file` makes it."""

    def __init__(self, client: Client, variable: str, source: Source) -> None:
        self.variable = variable
        self._client = client
        self._source = source
        self._sent = b""
        self._is_failing = False
        self._timer: object | None = None
        self._turn = asyncio.Lock()
        """Else what is being renewed might come after what takes it away."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.variable}>"

    async def _start(self) -> ForwardedFile:
        self._plan(await self._send())
        return self

    def close(self) -> Any:
        """Renew it no longer, and take the copies away; to be awaited where the client is asynchronous."""
        return self._client.sync(self._close)

    async def _close(self) -> None:
        async with self._turn:
            if self._timer is None:
                return
            self._client.loop.remove_timeout(self._timer)
            self._timer = None
            await self._ask(self._client.unregister_worker_plugin, _plugin_name(self.variable))
            await self._ask(self._client.run, _remover(self.variable))

    def __enter__(self) -> ForwardedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> ForwardedFile:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    # -- renewing

    def _plan(self, pause_s: float) -> None:
        self._timer = self._client.loop.call_later(pause_s, self._renew)

    async def _renew(self) -> None:
        async with self._turn:
            if self._timer is not None and self._client.status not in ("closing", "closed"):
                self._plan(await self._send_or_tell())

    async def _send_or_tell(self) -> float:
        try:
            pause_s = await self._send()
        except Exception as error:  # noqa: BLE001 (of somebody's function, a disk or the connection: none ends it)
            if not self._is_failing:
                log.warning("what %s names on workers is not renewed, and tried again: %s", self.variable, error)
            self._is_failing = True
            return LOOK_EVERY_S
        self._is_failing = False
        return pause_s

    async def _send(self) -> float:
        """Send it if it is new. Returns in how many seconds to look again."""
        content, pause_s = await asyncio.to_thread(self._read)
        if len(content) > MAX_BYTES:
            raise ValueError(
                f"{self.variable}: {len(content)} bytes are no credentials; Client.upload_file takes files"
            )
        if content != self._sent:
            await self._ask(_registering(self._client), _plugin(self.variable, content))
            self._sent = content
        return pause_s

    def _read(self) -> tuple[bytes, float]:
        if not callable(self._source):
            return Path(self._source).read_bytes(), LOOK_EVERY_S
        content, lifetime_s = self._source()
        return content.encode() if isinstance(content, str) else content, lifetime_s / 2

    async def _ask(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Call a method of the client, which blocks where the client is synchronous and not asked in its loop."""
        if self._client.asynchronous:
            await method(*arguments)
        else:
            await asyncio.to_thread(method, *arguments)


def _registering(client: Client) -> Callable[..., Any]:
    """The client's method by which plugins come to workers: `register_plugin` since 2023.9."""
    return getattr(client, "register_plugin", None) or client.register_worker_plugin


def _plugin_name(variable: str) -> str:
    return f"sluice-file-{variable}"


def _plugin(variable: str, content: bytes) -> WorkerPlugin:
    """Its class is made here, so that it is sent whole: workers have nothing of this package."""

    class KeepsFile(WorkerPlugin):
        name = _plugin_name(variable)

        def setup(self, worker: Any) -> None:
            path = os.path.join(worker.local_directory, f".{variable}")
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(f"{path}.new", path)
            os.environ[variable] = path

    return KeepsFile()


def _remover(variable: str) -> Callable[[], None]:
    def remove() -> None:
        path = os.environ.pop(variable, "")
        if os.path.exists(path):
            os.remove(path)

    return remove
