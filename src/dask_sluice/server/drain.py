"""Drain: no new clusters, the rest runs on. Kept with the records, so it outlives restarts and holds for every server.

What was accepted before still starts: its owner was told yes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ..wire.errors import Draining
from ..wire.reasons import Reason, ReasonCode
from .clock import Clock
from .store import Store

NOTE = "drain"


@dataclass(frozen=True)
class DrainState:
    """Who drains the server since when, and what they have to say to users."""

    by: str
    since: float
    message: str = ""

    @property
    def reason(self) -> Reason:
        told = f" ({self.message})" if self.message else ""
        return Reason(ReasonCode.DRAINING, {"by": self.by, "since": self.since, "message": told})


class Drain:
    """The switch. `always`: it is set in the configuration and cannot be turned off."""

    def __init__(self, store: Store, clock: Clock, *, always: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._since = clock.now() if always else None

    @property
    def is_configured(self) -> bool:
        return self._since is not None

    async def state(self) -> DrainState | None:
        """None: new clusters are welcome. Read each time: another server may have turned it."""
        return self._state(await self._store.note(NOTE))

    def admit(self, note: Callable[[str], bytes | None]) -> None:
        """Raises Draining unless new clusters are welcome. `note` reads where the new cluster would be written."""
        if (state := self._state(note(NOTE))) is not None:
            raise Draining(state.reason.sentence, hint=state.reason.hint, details={"since": state.since})

    def _state(self, note: bytes | None) -> DrainState | None:
        if self._since is not None:
            return DrainState("the configuration", self._since)
        return DrainState(**json.loads(note)) if note else None

    async def begin(self, by: str, message: str) -> None:
        """From now on; a second time only changes what is said."""
        before = await self.state()
        state = DrainState(by, before.since if before else self._clock.now(), message)
        await self._store.set_note(NOTE, json.dumps(asdict(state)).encode())

    async def end(self) -> None:
        await self._store.set_note(NOTE, None)
