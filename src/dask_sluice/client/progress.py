"""One line that says what `new_cluster` waits for, rewritten in place; silent where nobody watches.

To be made in the user's own thread: a notebook knows by the context which cell an output belongs to, and what
is waited for is waited for in another thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import html
import sys
import time
from typing import Any

from ..wire.api import ClusterView

QUIET_S = 0.5
"""A start that is quicker than this is not worth a line."""
_PHASES = {"queued": "queued", "scheduler_starting": "scheduler starting", "connecting": "connecting"}


class Progress:
    """Shows phases in a notebook's cell or on a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._cell = contextvars.copy_context()
        self._handle: Any = None
        self._text = self._shown = ""
        self._notebook = not quiet and "ipykernel" in sys.modules and sys.modules["ipykernel"] is not None
        self._terminal = not quiet and not self._notebook and sys.stderr.isatty()

    def show(self, view: ClusterView) -> None:
        """Where the cluster is now."""
        phase = _PHASES.get(view.phase, view.phase) or str(view.state)
        self._text = f"{view.name}: {phase} ({view.reason.sentence})"

    async def run(self) -> None:
        """Keep the line true until cancelled; then take it away."""
        try:
            await asyncio.sleep(QUIET_S)
            while True:
                self._write(f"{self._text}, {time.monotonic() - self._began:.0f} s")
                await asyncio.sleep(1)
        finally:
            if self._shown:
                self._write("")

    def _write(self, text: str) -> None:
        self._shown = text
        if self._notebook:
            self._cell.run(self._display, text)
        elif self._terminal:
            sys.stderr.write(f"\r\x1b[K{text[:200]}")
            sys.stderr.flush()

    def _display(self, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": text, "text/html": f"<i>{html.escape(text)}</i>" if text else ""}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
