"""Slowing down whoever guesses: so many failures from one address, then none is looked at for a while."""

from __future__ import annotations

from collections import OrderedDict, deque

from ...wire.durations import span
from ...wire.errors import LimitExceeded

FAILURES = 10
WINDOW_S = 60.0
ADDRESSES = 10_000
"""Addresses that are remembered; beyond it the longest quiet one is forgotten, so that memory stays bounded."""


class Throttle:
    """Failed attempts by address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str, now: float) -> None:
        """Raise LimitExceeded where this address has failed too often within the last minute."""
        failures = self._failures.get(address)
        if failures is None:
            return
        while failures and failures[0] <= now - WINDOW_S:
            failures.popleft()
        if not failures:
            del self._failures[address]
        elif len(failures) >= FAILURES:
            wait = max(1.0, failures[0] + WINDOW_S - now)
            raise LimitExceeded(
                f"{FAILURES} attempts to log in from {address or 'your address'} failed within {span(WINDOW_S)}",
                hint=f"Wait {span(round(wait))} and check the name and password.",
                details={"limit": "failed_logins", "value": FAILURES, "window_s": WINDOW_S},
                retry_after_s=wait,
            )

    def failed(self, address: str, now: float) -> None:
        """Count one more."""
        self._failures.setdefault(address, deque(maxlen=FAILURES)).append(now)
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
