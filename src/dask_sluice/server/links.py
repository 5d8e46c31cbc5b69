"""The server's side of the link that each scheduler's agent keeps to it (`wire/link.py`).

What an agent says is written where the loop sees it; what an agent is told follows from the cluster's
record alone, so that a link made anew is brought up to date by the same few lines. An agent is not
trusted: it names ports, never hosts, and its messages are checked and counted.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..wire.errors import AuthenticationRequired, BackendUnavailable, ClusterNotFound
from ..wire.notices import notices
from ..wire.reasons import TAKEN, ReasonCode
from ..wire.states import ClusterState, WorkerState
from . import facts
from .about import now_about
from .clock import Clock
from .decision import Fact
from .loop import Loop
from .model import Adaptive, AgentHello, AgentReport, ClusterRecord, Event, WorkerLoad
from .reconcile_budget import budget_notice
from .store import Store

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 30.0
REPORT_EVERY_S = 15.0
"""Only a sign of life: what changes is reported at once."""
ADAPTIVE_EVERY_S = 1.0
ADAPTIVE_PATIENCE_S = 10.0
_LOSSES = (ReasonCode.OUT_OF_MEMORY, *TAKEN)
"""Reasons of workers' ends of which connected clients are warned."""
EVENTS_AT_MOST = 1000
"""Events that one link may write: more would be a fault, or an attempt to fill the disk."""
EVENT_BYTES = 8192
VERSIONS_OF = ("python", "dask", "distributed")
VERSION_LENGTH = 40


class LinkSocket(Protocol):
    """A WebSocket, as far as a link needs one."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one JSON object; lost without a word where the other end is gone."""

    async def receive(self) -> Mapping[str, Any] | None:
        """The next JSON object; None once the other end is gone."""

    async def close(self) -> None:
        """End the connection."""


class LinkMisused(Exception):
    """An agent said something that no agent says."""


@dataclass(slots=True)
class _Link:
    """One connection, and what its agent has been told over it."""

    socket: LinkSocket
    outbox: list[Mapping[str, Any] | None] = field(default_factory=list)
    """What to say next; None: nothing more, hang up."""
    writing: asyncio.Task[None] | None = None
    told: bool = False
    adaptive: Adaptive | None = None
    wanted: int | None = None
    retiring: frozenset[str] = frozenset()
    stopped: bool = False
    noticed: frozenset[str] = frozenset()
    events: int = 0

    def post(self, message: Mapping[str, Any] | None) -> None:
        """Say this after all that was posted before. A link is silent most of the time, and then has no task for it."""
        self.outbox.append(message)
        if self.writing is None:
            self.writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self.outbox:
                if (message := self.outbox.pop(0)) is None:
                    await self.socket.close()
                    return
                await self.socket.send(message)
        finally:
            self.writing = None


class Links:
    """Every agent that is linked to this server."""

    def __init__(self, store: Store, loop: Loop, clock: Clock, *, patience_s: float = ADAPTIVE_PATIENCE_S) -> None:
        self._store = store
        self._patience_s = patience_s
        self._loop = loop
        self._clock = clock
        self._links: dict[str, _Link] = {}
        store.on_change(self._changed)

    @property
    def count(self) -> int:
        """How many agents are linked."""
        return len(self._links)

    async def admit(self, name: str, token: str) -> None:
        """Return where this is the link token of that cluster.

        raises  AuthenticationRequired; an unknown cluster and a wrong token look the same
        """
        try:
            secrets = await self._store.secrets(name)
            record = self._loop.record(name) or await self._store.cluster(name)
        except ClusterNotFound:
            raise AuthenticationRequired("this is not the link token of that cluster") from None
        if record.state.is_final or not hmac.compare_digest(secrets.link_token.encode(), token.encode()):
            raise AuthenticationRequired("this is not the link token of that cluster")

    async def serve(self, socket: LinkSocket, name: str) -> None:
        """Serve an admitted agent until its connection ends."""
        now_about(name)
        await self._loop.knows_the_books.wait()
        link = _Link(socket)
        try:
            await self._welcome(link, name)
            await self._listen(link, name)
        except (LinkMisused, TimeoutError, ClusterNotFound, BackendUnavailable) as error:
            log.warning("%s: link closed: %s", name, error or "no hello in time")
        finally:
            self._unlink(link, name)
            if link.writing is not None:
                link.writing.cancel()
                await asyncio.gather(link.writing, return_exceptions=True)
            await socket.close()

    async def _welcome(self, link: _Link, name: str) -> None:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            message = await link.socket.receive()
        if message is None:
            raise LinkMisused("it ended before it said hello")
        hello = read_hello(message, name)
        # What an agent says is of use where the cluster is worked on: so that is where it is linked.
        await self._loop.take(name)
        record = self._loop.record(name)
        if record is None:
            return  # ended, or taken by another: hang up, and the agent that still lives dials again
        link.post(
            {
                "op": "welcome",
                "report_every_s": REPORT_EVERY_S,
                "adaptive_every_s": ADAPTIVE_EVERY_S,
                "adaptive_patience_s": self._patience_s,
            }
        )
        # The newest link counts: the old one is a connection that broke without a word.
        if earlier := self._links.get(name):
            earlier.post(None)
        self._links[name] = link
        self._loop.sightings.linked(name, hello)
        self._bring_up_to_date(link, record)
        if not record.scheduler.host:
            self._loop.look(name)
        self._loop.mark(name)

    async def _listen(self, link: _Link, name: str) -> None:
        while self._links.get(name) is link and (message := await link.socket.receive()) is not None:
            if self._links.get(name) is not link:
                return
            match message.get("op"):
                case "report":
                    if self._loop.sightings.reported(name, read_report(message)):
                        self._loop.mark(name)
                case "wish":
                    count, why = _number(message, "count"), str(message.get("why", ""))[:500]
                    await self._tell(name, partial(facts.wished, count=count, why=why))
                case "event":
                    await self._take_event(link, name, message)

    async def _take_event(self, link: _Link, name: str, message: Mapping[str, Any]) -> None:
        link.events += 1
        if link.events > EVENTS_AT_MOST:
            return
        subject, code, details = read_event(message)
        await self._tell(name, partial(facts.agent_said, subject=subject, code=code, details=details))

    async def _tell(self, name: str, fact: Fact) -> None:
        try:
            await self._loop.happened(name, fact)
        except ClusterNotFound:
            log.debug("%s: its agent spoke after its end", name)

    def _changed(self, record: ClusterRecord, _happened: tuple[Event, ...]) -> None:
        link = self._links.get(record.name)
        if link is None:
            return
        if record.holder == self._store.replica:
            self._bring_up_to_date(link, record)
        else:  # another server has taken the cluster over: its agent dials again, and whoever answers takes it
            del self._links[record.name]
            link.post(None)

    def _bring_up_to_date(self, link: _Link, record: ClusterRecord) -> None:
        for message in outstanding(link, record):
            link.post(message)

    def _unlink(self, link: _Link, name: str) -> None:
        if self._links.get(name) is link:
            del self._links[name]
            if self._loop.record(name) is not None:
                self._loop.sightings.unlinked(name, self._clock.now())
                self._loop.look(name)
                self._loop.mark(name)


def outstanding(link: _Link, record: ClusterRecord) -> list[Mapping[str, Any]]:
    """What the agent has to be told to be up to date; it is noted as told."""
    messages: list[Mapping[str, Any]] = []
    wanted = record.wanted
    if not link.told or wanted.adaptive != link.adaptive:
        minimum, maximum = (wanted.adaptive.minimum, wanted.adaptive.maximum) if wanted.adaptive else (None, None)
        messages.append({"op": "adapt", "minimum": minimum, "maximum": maximum})
    if not link.told or wanted.workers != link.wanted:
        messages.append({"op": "wanted", "count": wanted.workers})
    link.told, link.adaptive, link.wanted = True, wanted.adaptive, wanted.workers
    retiring = {worker.name for worker in record.workers if worker.state is WorkerState.RETIRING}
    if news := retiring - link.retiring:
        messages.append({"op": "retire", "names": sorted(news), "count": 0})
    link.retiring |= retiring
    said = _notices(record)
    messages += [{"op": "warn", "message": sentence} for about, sentence in said.items() if about not in link.noticed]
    link.noticed = frozenset(said)
    if record.state is ClusterState.STOPPING and wanted.stop is not None and not link.stopped:
        link.stopped = True
        messages.append({"op": "stop", "reason": wanted.stop.sentence})
    return messages


def _notices(record: ClusterRecord) -> dict[str, str]:
    """What whoever is connected should know, while it holds: what it is about, and the sentence."""
    budget = budget_notice(record.budget)
    return notices(record.name, record.state, record.reason, lease=record.lease.notice, budget=budget) | _losses(record)


def _losses(record: ClusterRecord) -> dict[str, str]:
    """What took workers, each cause once. Clients of dask-gateway hear of it in no other way."""
    if record.state is not ClusterState.RUNNING:
        return {}
    lost = {str(worker.reason.code): worker for worker in record.workers if worker.reason.code in _LOSSES}
    return {
        f"lost by {code}": f"cluster {record.name}: {worker.name}: {worker.reason.sentence}"
        for code, worker in lost.items()
    }


def read_hello(message: Mapping[str, Any], name: str) -> AgentHello:
    """A hello, checked."""
    if message.get("op") != "hello":
        raise LinkMisused(f"its first message was {message.get('op')!r}, not 'hello'")
    if message.get("cluster") != name:
        raise LinkMisused(f"it says to be of cluster {message.get('cluster')!r}")
    dashboard = None if message.get("dashboard_port") is None else _port(message, "dashboard_port")
    return AgentHello(_port(message, "scheduler_port"), dashboard, _versions(message.get("versions")))


def _versions(said: Any) -> Mapping[str, str]:
    """Those that are kept: of an agent nobody trusts, each is a short text."""
    found = said if isinstance(said, dict) else {}
    return {name: str(found[name])[:VERSION_LENGTH] for name in VERSIONS_OF if name in found}


def read_report(message: Mapping[str, Any]) -> AgentReport:
    """A report, checked."""
    workers, retired, idle = message.get("workers"), message.get("retired", []), message.get("idle_since")
    left = message.get("left", [])
    if not isinstance(workers, list) or not isinstance(retired, list) or not isinstance(left, list):
        raise LinkMisused("its report has no list of workers")
    if idle is not None and not isinstance(idle, int | float):
        raise LinkMisused("its report's idle_since is no number")
    return AgentReport(
        workers=_loads(workers),
        retired=frozenset(str(name) for name in retired),
        clients=_number(message, "clients"),
        active=bool(message.get("active")),
        idle_since=None if idle is None else float(idle),
        left=_loads(left),
    )


def _loads(workers: Iterable[Any]) -> dict[str, WorkerLoad]:
    return {
        str(worker.get("name")): WorkerLoad(int(worker.get("processing") or 0), int(worker.get("memory_used") or 0))
        for worker in workers
        if isinstance(worker, dict)
    }


def read_event(message: Mapping[str, Any]) -> tuple[str, ReasonCode, Mapping[str, Any]]:
    """An event, checked: subject, code, details."""
    details = message.get("details", {})
    try:
        code = ReasonCode(message.get("code"))
    except ValueError:
        raise LinkMisused(f"its event has the unknown code {message.get('code')!r}") from None
    if not isinstance(details, dict) or len(json.dumps(details)) > EVENT_BYTES:
        raise LinkMisused("its event's details are no mapping, or too long")
    return str(message.get("subject"))[:64], code, details


def _number(message: Mapping[str, Any], key: str) -> int:
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise LinkMisused(f"{key} is {value!r}, not a count")
    return value


def _port(message: Mapping[str, Any], key: str) -> int:
    port = _number(message, key)
    if not 0 < port < 65536:
        raise LinkMisused(f"{key} is {port}, not a port")
    return port
