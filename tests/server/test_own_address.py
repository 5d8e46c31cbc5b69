"""A `listen.public_url` that leads elsewhere is said by the server itself."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice.server.clock import ManualClock
from dask_sluice.server.own_address import PAUSES_S, watch_own_address

from ..live import LiveServer, until
from .core import eventually


class Somebody(ThreadingHTTPServer):
    """A web server; `says`: the answers that it still gives, then the last for ever."""

    def __init__(self, *says: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.says = list(says)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/dask"


class _Request(BaseHTTPRequestHandler):
    server: Somebody

    def do_GET(self) -> None:
        status, body = self.server.says.pop(0) if len(self.server.says) > 1 else self.server.says[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.append(self.path)

    def log_message(self, *_: Any) -> None:
        pass


NOT_FOUND = (404, b"no such page")
OURS = (200, json.dumps({"status": "live", "reason": "the loop runs"}).encode())


@pytest.fixture
def serve() -> Iterator[Any]:
    started: list[Somebody] = []

    def start(*says: tuple[int, bytes]) -> Somebody:
        started.append(Somebody(*says))
        threading.Thread(target=started[-1].serve_forever, args=(0.02,), daemon=True).start()
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


async def watched(url: str) -> None:
    """All of the minute, on a clock of ours."""
    clock = ManualClock(1000)
    watching = asyncio.create_task(watch_own_address(url, clock))

    async def is_over() -> bool:
        await clock.advance(max(PAUSES_S))
        return watching.done()

    await eventually(is_over)
    await watching


async def test_who_answers_in_our_stead_is_told_once_with_the_key(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    somebody = serve(NOT_FOUND)
    await watched(somebody.url)
    (record,) = caplog.records
    assert f"{somebody.url} (listen.public_url)" in record.getMessage()
    assert "/health/live is 404 Not Found" in record.getMessage()
    assert somebody.asked == ["/dask/health/live"] * len(PAUSES_S)


async def test_an_address_where_nothing_listens_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    await watched(url)
    assert "no dask-sluice server answers: it cannot be reached (" in caplog.text


async def test_nothing_is_said_where_the_way_opens_a_little_later(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    somebody = serve(NOT_FOUND, (502, b""), OURS)
    await watched(somebody.url)
    assert len(somebody.asked) == 3
    assert not caplog.records


def test_a_server_asks_when_it_is_ready(serve: Any, tmp_path: Path) -> None:
    somebody = serve(OURS)
    config = tmp_path / "sluice.yaml"
    config.write_text(yaml.safe_dump({"listen": {"public_url": somebody.url}}))
    with LiveServer(tmp_path, "--config", str(config)):
        until(lambda: somebody.asked == ["/dask/health/live"], "it asks for itself")
