"""One line that says what `new_cluster` waits for, rewritten in place; silent where nobody watches."""

from __future__ import annotations

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
        self._handle: Any = None
        self._shown = ""
        self._notebook = not quiet and "ipykernel" in sys.modules and sys.modules["ipykernel"] is not None
        self._terminal = not quiet and not self._notebook and sys.stderr.isatty()

    def show(self, view: ClusterView) -> None:
        """Say where the cluster is."""
        phase = _PHASES.get(view.phase, view.phase) or str(view.state)
        self._write(f"{view.name}: {phase} ({view.reason.sentence})", view.reason.hint)

    def done(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("", "")

    def _write(self, text: str, hint: str) -> None:
        if text and time.monotonic() - self._began < QUIET_S:
            return
        if text == self._shown:
            return
        if self._notebook:
            self._display(text)
        elif self._terminal:
            sys.stderr.write(f"\r\x1b[K{text[:200]}")
            sys.stderr.flush()
        self._shown = text

    def _display(self, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": text, "text/html": f"<i>{text}</i>" if text else ""}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
