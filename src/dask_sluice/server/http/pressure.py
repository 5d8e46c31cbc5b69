"""How much is done at a time, and who has to come again later.

Beyond some number at a time requests only slow each other down, so the rest waits in a line, callers taking turns;
and who would stand there for too long is told at once when to come again. One caller's flood lengthens that
caller's own wait. Nothing here knows HTTP: `edge.py` asks for a place, and gives it back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...wire.errors import Overloaded

FIRST_GUESS_S = 0.005
"""What one request takes of the server, until it has been seen."""
LONGEST_INTERVAL_S = 1.0
LONGEST_RETRY_AFTER_S = 30
HINT = "Too much is asked of this server just now. Clients of dask-sluice wait by themselves; others should try again."


class Pace:
    """How fast work gets done while some is waiting, and so when those who were sent away had better come again."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: float | None = None
        self._owed = 0  # sent away, and not yet made up for: they will be back
        self.interval_s = FIRST_GUESS_S

    def done(self, *, more: bool) -> None:
        """Something was done; whether more is waiting, so that the time to the next is all work."""
        now = self._now()
        if self._last is not None:
            self.interval_s += 0.05 * (min(now - self._last, LONGEST_INTERVAL_S) - self.interval_s)
        self._last = now if more else None
        self._owed = max(0, self._owed - 1)

    def send_away(self, sentence: str, wait_s: float) -> Overloaded:
        """The refusal; it grows with the line and with the number of those who will be back before you."""
        self._owed += 1
        after_s = min(LONGEST_RETRY_AFTER_S, 1 + math.ceil(wait_s + self._owed * self.interval_s))
        return Overloaded(sentence, hint=HINT, retry_after_s=after_s)


class Crush:
    """At most so many at once, strangers all of them; no more are let in than can be served soon."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._inside = 0
        self._pace = Pace(now)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be one of them. Raises Overloaded."""
        if self._inside >= self._most:
            raise self._pace.send_away(f"{self._inside} others are waiting to be let in", 0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._pace.done(more=self._inside > 0)


class Pressure:
    """Places for requests at work, and the line of those who wait for one.

    at_once  requests at work at a time; one caller has at most half of the places
    """

    def __init__(self, at_once: int, now: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._share = max(1, at_once // 2)
        self._pace = Pace(now)
        self._held: Counter[str] = Counter()
        self._line: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # whose turn is next comes first

    async def enter(self, caller: str, patience_s: float) -> None:
        """Return with a place, which has to be left again. Raises Overloaded where that would take longer."""
        if self.working < self._at_once and self._held[caller] < self._share:
            self._held[caller] += 1
            return
        wait_s = self.ahead(caller) * self._pace.interval_s
        if wait_s > patience_s:
            raise self._pace.send_away("the server has more requests than it can answer in time", wait_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(caller)
            raise

    def leave(self, caller: str) -> None:
        """Give the place to whose turn it is."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        while self.working < self._at_once and self._call_next():
            pass
        self._pace.done(more=bool(self._line))

    @property
    def working(self) -> int:
        """Places that are taken."""
        return self._held.total()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return sum(map(len, self._line.values()))

    def ahead(self, caller: str) -> int:
        """How many get a place before one more request of this caller's would, itself included: each has its turns."""
        turns = len(self._line.get(caller, ())) + 1
        others = sum(min(len(theirs), turns) for name, theirs in self._line.items() if name != caller)
        return turns + others

    def _call_next(self) -> bool:
        """Whether somebody took a place."""
        for caller in list(self._line):
            if self._held[caller] >= self._share:
                continue
            theirs = self._line[caller]
            turn = theirs.popleft()
            if theirs:
                self._line.move_to_end(caller)
            else:
                del self._line[caller]
            if turn.cancelled():
                return True
            self._held[caller] += 1
            turn.set_result(None)
            return True
        return False


class Callers:
    """Who a request is counted for, before anybody has looked at its credentials.

    Credentials that were good before stand for their user; all others for the address they come from, so that
    made-up ones win nothing.
    """

    MOST = 20_000

    def __init__(self) -> None:
        self._users: OrderedDict[int, str] = OrderedDict()

    def of(self, credentials: str, address: str) -> str:
        """The caller, as far as it is known."""
        user = self._users.get(hash(credentials)) if credentials else None
        return f"address {address}" if user is None else f"user {user}"

    def learn(self, credentials: str, user: str) -> None:
        """These credentials turned out to be good."""
        if credentials:
            self._users[hash(credentials)] = user
            self._users.move_to_end(hash(credentials))
            while len(self._users) > self.MOST:
                self._users.popitem(last=False)
