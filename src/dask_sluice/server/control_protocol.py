"""DRAFT seam between HTTP and core: what routes may call. Becomes `control.py` (class Control)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from ..wire.api import Credentials
from ..wire.options import Option
from ..wire.states import ClusterState
from .model import Caller, ClusterRecord, Event, WorkerRecord


class ControlProtocol(Protocol):
    """Every method checks `policy.may(caller, action, record)` first; strangers' clusters look unknown."""

    async def options(self, caller: Caller) -> Sequence[Option]: ...
    async def create(
        self, caller: Caller, options: Mapping[str, Any], idempotency_key: str | None
    ) -> tuple[ClusterRecord, bool]:
        """The record, and whether it is new (False: the key was used before for the same request)."""
        ...

    async def clusters(
        self, caller: Caller, states: Sequence[ClusterState] | None = None, *, everyone: bool = False
    ) -> list[ClusterRecord]:
        """Newest first; default the active ones and those stopping."""
        ...

    async def cluster(self, caller: Caller, name: str) -> ClusterRecord: ...
    async def wait(self, caller: Caller, name: str, *, after_version: int, timeout_s: float) -> ClusterRecord:
        """The record as soon as its version exceeds `after_version`, or as it is after `timeout_s`."""
        ...

    async def scale(self, caller: Caller, name: str, count: int) -> tuple[ClusterRecord, str]:
        """Record and a sentence where a limit clamped it. ClusterNotRunning only once stopping or ended
        (v2 may scale a starting cluster: the number is kept)."""
        ...

    async def adapt(
        self, caller: Caller, name: str, minimum: int | None, maximum: int | None, active: bool
    ) -> tuple[ClusterRecord, str]: ...
    async def stop(self, caller: Caller, name: str) -> ClusterRecord:
        """Idempotent; an ended cluster is returned as it is."""
        ...

    async def workers(self, caller: Caller, name: str) -> Sequence[WorkerRecord]: ...
    async def events(self, caller: Caller, name: str | None, *, after: int = 0, limit: int = 1000) -> list[Event]: ...
    def follow(self, caller: Caller, name: str | None, *, after: int = 0) -> AsyncIterator[Event]:
        """Stored events after `after`, then live ones; name None: all of the caller's clusters."""
        ...

    async def credentials(self, caller: Caller, name: str) -> Credentials:
        """A client identity; ClusterNotRunning unless running."""
        ...

    async def logs(self, caller: Caller, name: str, worker: str | None, *, max_bytes: int) -> str: ...
