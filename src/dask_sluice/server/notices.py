"""Messages about clusters to the site's webhook: that one has ended, or will, and why.

Told at least once, across crashes and from whichever server leads: up to which event all is told stands in the
database. A message carries its event's id, by which a receiver knows one that it has seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from ..wire.errors import BackendUnavailable, ClusterNotFound
from ..wire.reasons import ReasonCode
from ..wire.states import ClusterState
from .clock import Clock
from .model import ClusterRecord, Event
from .settings_notices import Notices
from .store import Store

log = logging.getLogger(__name__)

NOTE = "notices"
LOOK_EVERY_S = 5.0
SETTLED_S = 60.0
"""Servers that write at the same time may make an event seen after one with a higher id; by then it is."""
TOO_OLD_S = 86400.0
"""What a webhook did not take for a day is news no more."""
MOST_AT_ONCE = 10_000
RETRY_S = (5, 15, 60, 300)
TIMEOUT_S = 10.0
WARNINGS = (
    ReasonCode.LEASE_ENDS,
    ReasonCode.WORKERS_KEEP_FAILING,
    ReasonCode.BUDGET_WARNING,
    ReasonCode.BUDGET_NO_NEW_WORKERS,
    ReasonCode.BUDGET_DRAINING,
)
"""Whoever is away can still do something about these."""
_TRY_AGAIN = (408, 425, 429)


class NotTaken(Exception):
    """The webhook is away, or wants to be asked later."""


def is_end(event: Event) -> bool:
    """Whether with this event its cluster had ended."""
    state = event.reason.details.get("state")
    return event.kind == "cluster" and state in (ClusterState.STOPPED.value, ClusterState.FAILED.value)


def is_news(event: Event) -> bool:
    """Whether this event is one to tell somebody who is away."""
    return is_end(event) or (event.subject == "cluster" and event.reason.code in WARNINGS)


def concerns(clusters: str, record: ClusterRecord) -> bool:
    """Whether messages about this cluster are wanted."""
    return clusters == "all" or not record.spec.lease.with_notebook


def message(event: Event, record: ClusterRecord) -> dict[str, Any]:
    """What is posted. `text` alone is enough for a person."""
    reason = event.reason
    return {
        "text": f"Dask cluster {event.cluster} of {record.spec.owner}: {reason.sentence}",
        "id": event.id,
        "time": datetime.fromtimestamp(event.time, UTC).isoformat(timespec="seconds"),
        "user": record.spec.owner,
        "cluster": event.cluster,
        "what": "ended" if is_end(event) else "warning",
        "state": str(reason.details["state"]) if is_end(event) else str(record.state),
        "code": str(reason.code),
        "sentence": reason.sentence,
        "hint": reason.hint,
    }


@dataclass(frozen=True)
class Told:
    """What has been told: every event up to `after`, and those of `beyond`."""

    after: int
    beyond: frozenset[int] = frozenset()

    @classmethod
    def read(cls, note: bytes) -> Told:
        kept = json.loads(note)
        return cls(kept["after"], frozenset(kept["beyond"]))

    def written(self) -> bytes:
        return json.dumps({"after": self.after, "beyond": sorted(self.beyond)}).encode()

    def up_to(self, event_id: int) -> Told:
        return Told(event_id, frozenset(each for each in self.beyond if each > event_id))


class Messenger:
    """Posts what is news, while this server leads."""

    def __init__(self, store: Store, clock: Clock, settings: Notices) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._leading = asyncio.Event()
        self._told: Told | None = None

    def lead(self, leads: bool) -> None:
        """Whether this server is the one to tell from now on."""
        self._told = None  # another one may have told something meanwhile
        self._leading.set() if leads else self._leading.clear()

    async def run(self) -> None:
        """Tell until cancelled; return at once where nobody wants to know."""
        if self._settings.url is None:
            return
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        failures = 0
        async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S) as http:
            while True:
                await self._leading.wait()
                try:
                    await self.look(http)
                    failures, pause_s = 0, LOOK_EVERY_S
                except (NotTaken, BackendUnavailable) as error:
                    pause_s = RETRY_S[min(failures, len(RETRY_S) - 1)]
                    failures += 1
                    log.warning("messages about clusters are not sent: %s; trying again in %g s", error, pause_s)
                except Exception:  # telling others must not end the server
                    pause_s = RETRY_S[-1]
                    log.exception("messages about clusters are not sent; trying again in %g s", pause_s)
                await self._clock.sleep(pause_s)

    async def look(self, http: httpx.AsyncClient) -> None:
        """Post what is new.

        raises  NotTaken; what was posted before is noted
        """
        told = self._told or await self._first()
        now, settling = self._clock.now(), False
        for event in await self._store.events(subject="cluster", after=told.after, limit=MOST_AT_ONCE):
            settling = settling or event.time > now - SETTLED_S
            if event.id not in told.beyond and is_news(event) and event.time > now - TOO_OLD_S:
                posted = await self._post(http, event)
                told = Told(told.after, told.beyond | {event.id})
                if posted:
                    await self._store.set_note(NOTE, told.written())
            self._told = told = told if settling else told.up_to(event.id)

    async def _first(self) -> Told:
        """Where whoever told last left off; the first time ever, now: what is past is no news."""
        note = await self._store.note(NOTE)
        if note is not None:
            return Told.read(note)
        told = Told(await self._store.last_event())
        await self._store.set_note(NOTE, told.written())
        return told

    async def _post(self, http: httpx.AsyncClient, event: Event) -> bool:
        """Whether a message was wanted, and is settled: taken, or refused for good."""
        try:
            record = await self._store.cluster(event.cluster)
        except ClusterNotFound:  # forgotten meanwhile
            return False
        if not concerns(self._settings.clusters, record):
            return False
        assert self._settings.url is not None
        try:
            answer = await http.post(self._settings.url.get_secret_value(), json=message(event, record))
        except (httpx.HTTPError, OSError) as error:
            raise NotTaken(f"notices.url cannot be reached ({type(error).__name__})") from error
        if answer.status_code in _TRY_AGAIN or answer.status_code >= 500:
            raise NotTaken(f"notices.url answers {answer.status_code}")
        if not answer.is_success:
            log.error("%s: notices.url refuses the message: %d %.200s", event.cluster, answer.status_code, answer.text)
        return True
