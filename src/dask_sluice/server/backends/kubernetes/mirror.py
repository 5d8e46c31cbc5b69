"""A copy of the API objects that bear our mark, kept true by list and watch: nobody needs to poll.

One list says what is there, then each change is told. A watch that ends goes on from the last version that was
told, bookmarks included; where the API server no longer knows that version (410 Gone), and now and then anyway,
the list is read again, and what vanished meanwhile is noticed by its absence.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping

from ..protocol import Unavailable
from .api import Api, ApiError, Object

log = logging.getLogger(__name__)

PAGE = "500"
WATCH_S = 290
"""A watch is ended by the API server after so long; it keeps none longer than five to ten minutes itself."""
RESYNC_S = 900.0
"""The list is read again after so long, against a change that was never told."""
PAUSE_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Listener = Callable[[Object | None, Object | None], None]
"""Told of each change: what was known of the object, and what is; None: nothing."""


class Mirror:
    """Objects of one kind, in one namespace or in all, by `namespace/name`."""

    def __init__(
        self,
        api: Api,
        path: str,
        selectors: Mapping[str, str],
        changed: Listener,
        wanted: Callable[[Object], bool] = lambda _: True,
    ) -> None:
        self.path = path
        self.objects: dict[str, Object] = {}
        self.silence: tuple[float, str] | None = (time.monotonic(), "nothing was heard of the API server yet")
        """Since when this copy may be out of date, by the monotonic clock, and why; None while it is true."""
        self.ready = asyncio.Event()
        """Set once the first list is there."""
        self._api = api
        self._selectors = dict(selectors)
        self._changed = changed
        self._wanted = wanted
        self._put_since_list: set[str] = set()

    async def run(self) -> None:
        """Follow until cancelled."""
        version, listed_at, failures = "", 0.0, 0
        while True:
            try:
                if not version or time.monotonic() - listed_at > RESYNC_S:
                    version, listed_at = await self._list(), time.monotonic()
                    self.ready.set()
                async with self._api.watch(self.path, **self._watch_parameters(version)) as events:
                    self.silence = None
                    async for told in events:
                        failures, version = 0, self._take(told)
                failures = 0
            except ApiError as error:
                if error.status == 410:
                    version = ""
                    continue
                self._fall_silent(f"the API server refuses to tell what is in {self.path}: {error.message}")
            except Unavailable as error:
                self._fall_silent(str(error))
            await asyncio.sleep(PAUSE_S[min(failures, len(PAUSE_S) - 1)] * random.uniform(0.75, 1.25))
            failures += 1

    def put(self, seen: Object) -> None:
        """An object as an answer to one of our own requests showed it: known before the watch tells of it."""
        key = key_of(seen)
        self._put_since_list.add(key)
        if key not in self.objects:  # else the watch was quicker, and knows more
            self._change(key, seen)

    def drop(self, key: str) -> None:
        """An object that is known to be gone before the watch tells of it."""
        if key in self.objects:
            self._change(key, None)

    def _watch_parameters(self, version: str) -> dict[str, str]:
        return {
            **self._selectors,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S + random.randrange(20)),
        }

    async def _list(self) -> str:
        """Read everything anew; the version at which that was true."""
        self._put_since_list.clear()
        found: dict[str, Object] = {}
        page: dict[str, str] = {}
        while True:
            answer = await self._api.get(self.path, limit=PAGE, **self._selectors, **page)
            found.update((key_of(each), each) for each in answer["items"] if self._wanted(each))
            if not (more := answer["metadata"].get("continue")):
                break
            page = {"continue": more}
        for key in self.objects.keys() - found.keys() - self._put_since_list:
            self._change(key, None)
        for key, seen in found.items():
            if self.objects.get(key) != seen:
                self._change(key, seen)
        return str(answer["metadata"]["resourceVersion"])

    def _take(self, told: Object) -> str:
        """One event of the watch; its version."""
        seen = told["object"]
        if told["type"] != "BOOKMARK" and self._wanted(seen):
            self._change(key_of(seen), None if told["type"] == "DELETED" else seen, last=seen)
        return str(seen["metadata"]["resourceVersion"])

    def _change(self, key: str, seen: Object | None, last: Object | None = None) -> None:
        """Note what is; `last`: how an object that is gone was in the end."""
        before = self.objects.pop(key, None)
        if seen is not None:
            self.objects[key] = seen
            self._changed(before, seen)
        elif before is not None:
            self._changed(last or before, None)

    def _fall_silent(self, why: str) -> None:
        if not self.silence:
            log.warning("%s", why)
        self.silence = (self.silence[0] if self.silence else time.monotonic(), why)


def key_of(seen: Object) -> str:
    """What an object is known by."""
    return f"{seen['metadata']['namespace']}/{seen['metadata']['name']}"
