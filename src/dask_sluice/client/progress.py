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
_PHASES = {"scheduler_starting": "scheduler starting"}
"""Those that read better in other words."""


class Progress:
    """Shows phases in a notebook's cell or on a terminal, while it is entered."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._cell = contextvars.copy_context()
        self._handle: Any = None
        self._text, self._shown = "asking for a cluster; an environment that is new to the server takes a moment", ""
        self._notebook = not quiet and _in_a_notebook()
        self._terminal = not quiet and not self._notebook and sys.stderr.isatty()

    def show(self, view: ClusterView) -> None:
        """Where the cluster is now."""
        phase = _PHASES.get(view.phase, view.phase) or str(view.state)
        self._text = f"{view.name}: {phase} ({view.reason.sentence})"

    async def __aenter__(self) -> Progress:
        self._keeping_true = asyncio.ensure_future(self._keep_true())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._keeping_true.cancel()
        await asyncio.wait({self._keeping_true})
        if self._shown:
            self._write("")

    async def _keep_true(self) -> None:
        await asyncio.sleep(QUIET_S)
        while True:
            self._write(f"{self._text}, {time.monotonic() - self._began:.0f} s")
            await asyncio.sleep(1)

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


def _in_a_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
