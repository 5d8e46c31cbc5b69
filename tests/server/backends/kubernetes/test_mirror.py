"""The copy of objects stays true: over ended and broken watches, lost versions (410) and throttling.

The API server here is a script: a real one cannot be made to forget a version on demand. What a real one does is in
`tests/kubernetes/test_connection.py`.
"""

from __future__ import annotations

import asyncio
import json
import queue
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dask_sluice.server.backends.kubernetes.access import Access
from dask_sluice.server.backends.kubernetes.api import Api, Object
from dask_sluice.server.backends.kubernetes.mirror import Mirror
from dask_sluice.server.backends.protocol import Unavailable

from ...core import eventually

PATH = "/api/v1/namespaces/n/pods"
BREAK, WAIT = "break the connection", "say nothing more"
Answer = Callable[[dict[str, str]], tuple[int, Any]]


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


def listed(version: int, *pods: Object) -> tuple[int, Any]:
    return 200, {"metadata": {"resourceVersion": str(version)}, "items": list(pods)}


def told(kind: str, thing: Any) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


class Script(ThreadingHTTPServer):
    """Answers from two queues, one for lists and one for watches; notes what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lists: queue.Queue[tuple[int, Any]] = queue.Queue()
        self.watches: queue.Queue[tuple[int, list[str]]] = queue.Queue()
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Script
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(asked)
        if "watch" in asked:
            status, lines = self.server.watches.get()
            self._watch(status, lines)
            return
        status, body = self.server.lists.get()
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, status: int, lines: list[str]) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            if line == BREAK:
                return
            if line == WAIT:
                self.wfile.flush()
                self.server.over.wait(30)
                return
            self.wfile.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def script() -> Any:
    with Script() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
async def api(script: Script) -> AsyncIterator[Api]:
    api = Api(Access(f"http://127.0.0.1:{script.server_port}", "n", ssl.create_default_context()))
    yield api
    await api.close()


class Copy:
    """A mirror at work, and what it told."""

    def __init__(self, api: Api) -> None:
        self.news: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self.mirror = Mirror(api, PATH, {"labelSelector": "a=b"}, self._changed)
        self._task = asyncio.create_task(self.mirror.run())

    def _changed(self, before: Object | None, seen: Object | None) -> None:
        either = seen or before
        assert either is not None
        self.news.put_nowait((either["metadata"]["name"], seen is not None))

    async def next(self) -> tuple[str, bool]:
        """Name of what changed, and whether it is there."""
        async with asyncio.timeout(20):
            return await self.news.get()

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@pytest.fixture
async def copy(api: Api) -> AsyncIterator[Copy]:
    copy = Copy(api)
    yield copy
    await copy.close()


async def test_a_watch_begins_where_the_list_ended_and_asks_for_bookmarks(script: Script, copy: Copy) -> None:
    script.lists.put(listed(7, pod("a", 3)))
    script.watches.put((200, [told("ADDED", pod("b", 8)), WAIT]))
    assert [await copy.next(), await copy.next()] == [("a", True), ("b", True)]
    assert script.asked[0] == {"limit": "500", "labelSelector": "a=b"}
    watch = script.asked[1]
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"], watch["labelSelector"]) == ("7", "true", "a=b")
    assert copy.mirror.silence is None


async def test_a_watch_that_ends_goes_on_from_the_last_bookmark_without_a_list(script: Script, copy: Copy) -> None:
    script.lists.put(listed(7))
    script.watches.put((200, [told("BOOKMARK", pod("", 90))]))
    script.watches.put((200, [told("ADDED", pod("a", 91)), BREAK]))
    script.watches.put((200, [told("DELETED", pod("a", 92)), WAIT]))
    assert [await copy.next(), await copy.next()] == [("a", True), ("a", False)]
    assert [asked.get("resourceVersion") for asked in script.asked] == [None, "7", "90", "91"]


@pytest.mark.parametrize("how", ["an event", "the answer"])
async def test_a_version_that_the_server_forgot_is_listed_anew_and_what_vanished_is_noticed(
    script: Script, copy: Copy, how: str
) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    script.lists.put(listed(7, pod("stays", 1), pod("vanishes", 2)))
    script.watches.put((200, [told("ERROR", gone)]) if how == "an event" else (410, [json.dumps(gone)]))
    script.lists.put(listed(99, pod("stays", 1), pod("is new", 50)))
    script.watches.put((200, [WAIT]))
    assert {await copy.next(), await copy.next()} == {("stays", True), ("vanishes", True)}
    assert {await copy.next(), await copy.next()} == {("vanishes", False), ("is new", True)}
    assert set(copy.mirror.objects) == {"n/stays", "n/is new"}


async def test_a_long_list_is_read_page_by_page(script: Script, copy: Copy) -> None:
    script.lists.put((200, {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [pod("a", 1)]}))
    script.lists.put(listed(7, pod("b", 2)))
    script.watches.put((200, [WAIT]))
    assert {await copy.next(), await copy.next()} == {("a", True), ("b", True)}
    assert script.asked[1]["continue"] == "more"


async def test_what_we_made_ourselves_is_known_although_an_older_list_lacks_it(script: Script, copy: Copy) -> None:
    await eventually(lambda: bool(script.asked))  # the list is on its way
    copy.mirror.put(pod("ours", 8))
    script.lists.put(listed(7))
    script.watches.put((200, [WAIT]))
    async with asyncio.timeout(20):
        await copy.mirror.ready.wait()
    assert set(copy.mirror.objects) == {"n/ours"}


async def test_a_server_that_refuses_is_no_silent_one_and_is_asked_again(script: Script, copy: Copy) -> None:
    script.lists.put((403, {"kind": "Status", "message": "may not list pods"}))
    await eventually(lambda: copy.mirror.silence is not None and "may not list pods" in copy.mirror.silence[1])
    script.lists.put(listed(7, pod("a", 1)))
    script.watches.put((200, [WAIT]))
    assert await copy.next() == ("a", True)


async def test_a_throttled_request_is_repeated_as_soon_as_the_server_allows(script: Script, api: Api) -> None:
    script.lists.put((429, {"kind": "Status", "message": "too many requests"}))
    script.lists.put(listed(7))
    assert (await api.get(PATH))["items"] == []


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_server_that_cannot_answer_is_unavailable_with_its_words(script: Script, api: Api, status: int) -> None:
    for _ in range(3):
        script.lists.put((status, {"kind": "Status", "message": "come back later"}))
    with pytest.raises(Unavailable, match="come back later"):
        await api.get(PATH)
