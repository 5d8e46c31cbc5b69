"""Looks for events a moment longer before sleeping, while they follow one another quickly.

A sleeping process on an idle core takes 20 to 50 µs to wake; a whole round trip through the proxy needs
less than that in work. Dask sends many small messages to and fro, so where the last event came within the
window of the one before, the next is awaited by polling for that window and not by sleep. One miss ends
it, so a quiet connection costs nothing (the same bargain as Linux's `halt_poll_ns`).
"""

from __future__ import annotations

import selectors
from time import perf_counter

Ready = list[tuple[selectors.SelectorKey, int]]


class SpinningSelector(selectors.DefaultSelector):
    """The platform's selector, spinning for up to `window_s` where that pays."""

    def __init__(self, window_s: float) -> None:
        super().__init__()
        self._window_s = window_s
        self._quick = False  # whether the last event came within the window

    def select(self, timeout: float | None = None) -> Ready:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        started = perf_counter()
        if self._quick:
            until = started + self._window_s
            while True:
                if ready := super().select(0):
                    return ready
                if perf_counter() >= until:
                    break
        ready = super().select(timeout)
        self._quick = bool(ready) and perf_counter() - started < self._window_s
        return ready
