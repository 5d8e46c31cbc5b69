"""Following a cluster: what is new about it, and that its program is still there."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Any

from ..wire.api import ClusterView, LeaseChange
from ..wire.errors import SluiceError
from .async_gateway import AsyncGateway


async def follow(gateway: AsyncGateway, view: ClusterView, changed: weakref.WeakMethod[Any]) -> None:
    """Call `changed` with every new view for as long as its object lives, which may be collected."""
    pause_s, presence = 0.2, _Presence(gateway)
    while view.state.is_active:
        try:
            await presence.tell(view)
            newer = await gateway.wait(view.name, view.version)
        except SluiceError:  # the server is away, or the cluster's record is gone: patience, clusters go on
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 10.0)
            continue
        pause_s = 0.2
        tell = changed()
        if tell is None:
            return
        if newer.version != view.version:
            await tell(newer)
        view = newer
        del tell


class _Presence:
    """Says now and then that the program which made a cluster is still there."""

    def __init__(self, gateway: AsyncGateway) -> None:
        self._gateway = gateway
        self._told_at = time.monotonic()

    async def tell(self, view: ClusterView) -> None:
        every_s = view.lease.presence_every_s
        if every_s and time.monotonic() >= self._told_at + every_s:
            self._told_at = time.monotonic()
            await self._gateway.change_lease(view.name, LeaseChange(present=True))
