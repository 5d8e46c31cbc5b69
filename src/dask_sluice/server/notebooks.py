"""Which notebook servers have ended, so that the clusters that they made end as well.

The hub says when one ends, but that is only a reason to look at once: what counts is what it answers when it is
asked, once a minute for whoever has such clusters. So neither a lost message nor a restart of either side leaves a
cluster behind, and a hub that does not answer ends nothing (docs/decisions/0029-clusters-end-with-their-notebook.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..wire.errors import ClusterNotFound
from ..wire.reasons import ReasonCode
from . import wishes
from .clock import Clock
from .decision import Change, plain
from .identity.protocol import Authenticator, KnowsNotebooks
from .leases import ends_with_notebook
from .model import ClusterRecord

if TYPE_CHECKING:
    from .loop import Loop
    from .store import Store

log = logging.getLogger(__name__)

EVERY_S = 60.0

Runs = Mapping[str, str]
"""Notebook servers that run, as in `Caller.notebook`, each with what tells one run of it from the next."""


def user_of(notebook: str) -> str:
    """Whose notebook server `ada/name` is."""
    return notebook.rpartition("/")[0]


def ended(records: Mapping[str, ClusterRecord], running: Runs, seen: dict[str, str], now: float) -> Iterator[str]:
    """The names of those clusters, out of one user's, whose notebook server has ended.

    seen    by cluster: the run that its server was in when it was first looked at; completed here
    """
    for name, record in records.items():
        run = running.get(record.spec.notebook)
        if run is not None and seen.setdefault(name, run) == run:
            continue
        if ends_with_notebook(record, now):
            yield name


class NotebookWatch:
    """Looks, once a minute and when it is told to."""

    def __init__(self, store: Store, loop: Loop, clock: Clock, authenticator: Authenticator) -> None:
        self._store = store
        self._loop = loop
        self._clock = clock
        self._knows = authenticator if isinstance(authenticator, KnowsNotebooks) else None
        self._seen: dict[str, str] = {}
        self._told: set[str] = set()
        self._wake = asyncio.Event()

    def look_at(self, user: str) -> None:
        """The user's notebook servers have changed."""
        self._told.add(user)
        self._wake.set()

    async def run(self) -> None:
        """Look, until cancelled; not at all where nobody knows of notebook servers."""
        if self._knows is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_each_minute())
            group.create_task(self._look_when_told())

    async def _look_each_minute(self) -> None:
        while True:
            await self._look()
            await self._clock.sleep(EVERY_S)

    async def _look_when_told(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._told:
                await self._look(self._told.pop())

    async def _look(self, user: str | None = None) -> None:
        """Ask about this user, or about everybody who has clusters that were made by a notebook server."""
        theirs: dict[str, dict[str, ClusterRecord]] = defaultdict(dict)
        records = self._loop.records()
        for name, record in records.items():
            if record.spec.notebook and (user is None or user == user_of(record.spec.notebook)):
                theirs[user_of(record.spec.notebook)][name] = record
        for each, clusters in theirs.items():
            await self._look_at(each, clusters)
        for name in self._seen.keys() - records.keys():
            del self._seen[name]

    async def _look_at(self, user: str, clusters: Mapping[str, ClusterRecord]) -> None:
        assert self._knows is not None
        try:
            running = await self._knows.notebooks(user)
            if running is None:
                return
            for name in list(ended(clusters, running, self._seen, self._clock.now())):
                await self._end(name)
        except Exception:  # one user's trouble must not end the watch; the next minute tries again
            log.exception("looking at the notebook servers of %s failed", user)

    async def _end(self, name: str) -> None:
        def stopped(record: ClusterRecord) -> Change:
            now = self._clock.now()
            if not ends_with_notebook(record, now):
                return Change(record)
            return wishes.stopped(record, plain(ReasonCode.NOTEBOOK_ENDED), now)

        with suppress(ClusterNotFound):
            await self._store.change(name, stopped, durable=True)
