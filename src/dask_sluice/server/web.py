"""uvicorn as a part of our server: it leaves the signals to us, and takes its socket from us."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

LARGEST_MESSAGE = 4_000_000
"""An agent's report of some ten thousand workers."""
GOODBYE_S = 2
PING_EVERY_S = 60.0
"""Agents ping by themselves, and report; this only finds those that hang."""


class WebServer(uvicorn.Server):
    """Serves the application until `should_exit` is set."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False,  # its windows would be most of what a link takes
            ws_ping_interval=PING_EVERY_S,
            ws_ping_timeout=PING_EVERY_S,
            proxy_headers=False,  # we read our proxy's ourselves
            timeout_graceful_shutdown=GOODBYE_S,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ours are for the whole server, and clusters come first."""
        yield
