"""News of clusters, for backends that tell when something may have changed (`protocol.Watches`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class News:
    """Names of clusters worth another look, for everybody who listens."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str | None]] = set()

    def tell(self, cluster: str) -> None:
        """Something may have changed there."""
        for listener in self._listeners:
            listener.put_nowait(cluster)

    async def listen(self) -> AsyncIterator[str]:
        """What is told from now on, until `close`."""
        listener: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            while (cluster := await listener.get()) is not None:
                yield cluster
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """There will be no more; whoever listens is let go."""
        for listener in self._listeners:
            listener.put_nowait(None)
