"""Waking whoever waits: for a cluster, for an owner's clusters, or for any.

A waiter is woken and reads the store again; nothing is carried, so nothing can be lost or be stale.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from .model import ClusterRecord, Event

K = TypeVar("K")


class Changes:
    """Told by the store of every change; an `asyncio.Event` for everyone concerned."""

    def __init__(self) -> None:
        self._of_cluster: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._of_owner: defaultdict[str | None, set[asyncio.Event]] = defaultdict(set)

    def __call__(self, record: ClusterRecord, happened: tuple[Event, ...]) -> None:
        concerned = (
            self._of_cluster.get(record.name),
            self._of_owner.get(record.spec.owner),
            self._of_owner.get(None),
        )
        for waiting in concerned:
            for event in waiting or ():
                event.set()

    @contextmanager
    def of_cluster(self, name: str) -> Iterator[asyncio.Event]:
        """Set at each change of this cluster; the waiter clears it, then reads."""
        with self._waiting(self._of_cluster, name) as event:
            yield event

    @contextmanager
    def of_owner(self, owner: str | None) -> Iterator[asyncio.Event]:
        """Set at each change of one of this owner's clusters; None: of anybody's."""
        with self._waiting(self._of_owner, owner) as event:
            yield event

    @contextmanager
    def _waiting(self, by_key: defaultdict[K, set[asyncio.Event]], key: K) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        by_key[key].add(event)
        try:
            yield event
        finally:
            by_key[key].discard(event)
            if not by_key[key]:
                del by_key[key]
