"""Real things around a real proxy: a server process's stand-in (uvicorn), schedulers, certificates.

The proxy runs as its own process, as in the product; everything else runs in the test's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import uvicorn

from dask_sluice.proxy.dashboards import ticket_for

PROXY_TOKEN = "proxy-secret"
ADA = {"Authorization": "Bearer ada-token"}
ADA_COOKIE = {"Cookie": "login=ada"}
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass
class Server:
    """What the proxy needs of a server: routes, access checks, and an API that shows what arrives."""

    path: str
    ticket_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    access_checks: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _streams: set[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=set)
    _uvicorn: _Uvicorn | None = None
    _task: asyncio.Task[None] | None = None
    listening_to_routes: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        config = uvicorn.Config(self, uds=self.path, log_level="error", lifespan="off", ws="websockets-sansio")
        self._uvicorn = _Uvicorn(config)
        self._task = asyncio.create_task(self._uvicorn.serve())
        while not self._uvicorn.started:
            assert not self._task.done(), self._task.exception()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._uvicorn is None or self._task is None:
            return
        self.listening_to_routes.clear()
        self._uvicorn.should_exit = True
        for stream in self._streams:
            stream.put_nowait(None)
        self._uvicorn.force_exit = True
        await self._task
        self._uvicorn = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def put(self, name: str, port: int | None, *, dashboard_port: int | None = None, host: str = "127.0.0.1") -> None:
        route = {
            "name": name,
            "host": host,
            "scheduler_port": port,
            "dashboard_port": dashboard_port,
            "state": "running" if port else "starting",
        }
        self.routes[name] = route
        self._tell({"put": route})

    def delete(self, name: str) -> None:
        del self.routes[name]
        self._tell({"delete": name})

    def _tell(self, message: dict[str, Any]) -> None:
        for stream in self._streams:
            stream.put_nowait(message)

    def ticket(self, cluster: str, *, valid_s: float = 60) -> str:
        return ticket_for(self.ticket_key, cluster=cluster, user="ada", expires=int(time.time() + valid_s))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(receive, send)
            return
        path: str = scope["path"]
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if path == "/api/v2/routes":
            await self._stream_routes(headers, send)
        elif path.startswith("/api/v2/access/"):
            status, document = self._access(path.rpartition("/")[2], headers)
            await answer(send, status, json.dumps(document).encode())
        elif path == "/ticks":
            await self._ticks(receive, send)
        elif path == "/hang":
            await self._hang(receive)
        elif path.startswith("/big/"):
            await self._big(int(path.rpartition("/")[2]), send)
        elif path == "/refuse-early":
            await answer(send, 413, b"too large")
        else:
            await self._mirror(scope, headers, receive, send)

    def _access(self, name: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        self.access_checks += 1
        assert headers["x-sluice-proxy"] == PROXY_TOKEN
        known = headers.get("authorization") == "Bearer ada-token" or "login=ada" in headers.get("cookie", "")
        if not known:
            return 401, {}
        if name not in self.routes:
            return 404, {}
        return 200, {"user": "ada", "ticket": self.ticket(name)}

    async def _stream_routes(self, headers: dict[str, str], send: Send) -> None:
        assert headers["authorization"] == f"Bearer {PROXY_TOKEN}"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        stream: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        stream.put_nowait({"snapshot": list(self.routes.values()), "ticket_key": self.ticket_key.hex()})
        self._streams.add(stream)
        if self._uvicorn is None or self._uvicorn.should_exit:  # dialled while it was ending
            stream.put_nowait(None)
        try:
            while (message := await stream.get()) is not None:
                line = json.dumps(message).encode() + b"\n"
                await send({"type": "http.response.body", "body": line, "more_body": True})
                self.listening_to_routes.set()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams.discard(stream)

    async def _mirror(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        body = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        seen = {"method": scope["method"], "target": target, "headers": headers, "body_bytes": body}
        await answer(send, 200, json.dumps(seen).encode())

    async def _ticks(self, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hang(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def _big(self, size: int, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = b"x" * 65536
        for _ in range(size // len(piece)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _websocket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "echo " + (message.get("text") or "")})


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"set-cookie", b"server=1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Proxy:
    """One or several proxy processes on one listening socket."""

    def __init__(
        self, server: str, log_path: Path, *, count: int = 1, listen_on: str = "127.0.0.1", **settings: Any
    ) -> None:
        self.listening = socket.create_server((listen_on, 0), backlog=512)
        self.port: int = self.listening.getsockname()[1]
        self.log_path = log_path
        document = {
            "listen_fd": self.listening.fileno(),
            "servers": [server] if isinstance(server, str) else server,
            "token": PROXY_TOKEN,
            "log_level": "debug",
        }
        text = json.dumps(document | settings).encode()
        self.processes = [self._start(text) for _ in range(count)]

    def _start(self, document: bytes) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask_sluice.proxy"],
                stdin=subprocess.PIPE,
                stderr=log,
                pass_fds=[self.listening.fileno()],
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(document)
        process.stdin.close()
        return process

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.processes[0].pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self.listening.close()
        log = self.log
        assert "Traceback" not in log, log


@contextlib.asynccontextmanager
async def raw_scheduler(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Something that listens where a scheduler would; its port."""

    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    listening = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, to the end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def client_hello(server_name: str | None, *, padding: int = 0) -> bytes:
    """A ClientHello as OpenSSL makes it, with an extension of `padding` bytes added."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    channel = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        channel.do_handshake()
    message = outgoing.read()[5:]
    return records(_padded(message, padding) if padding else message)


def _padded(message: bytes, padding: int) -> bytes:
    position = 4 + 2 + 32
    position += 1 + message[position]
    position += 2 + int.from_bytes(message[position : position + 2], "big")
    position += 1 + message[position]
    extensions = message[position + 2 :]
    extensions = b"\x00\x15" + padding.to_bytes(2, "big") + bytes(padding) + extensions  # RFC 7685, before the name
    body = message[4:position] + len(extensions).to_bytes(2, "big") + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(message: bytes, size: int = 16384) -> bytes:
    """A handshake message in TLS records of at most `size` bytes."""
    pieces = (message[start : start + size] for start in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost."""

    authority_path: str
    certificate_path: str
    key_path: str

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_path, self.key_path)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority_path)
        context.check_hostname = False
        return context


def make_certificate(directory: Path) -> Certificate:
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    made = Certificate(*(str(directory / f"{name}.pem") for name in ("authority", "certificate", "key")))
    authority.cert_pem.write_to_path(made.authority_path)
    leaf.cert_chain_pems[0].write_to_path(made.certificate_path)
    leaf.private_key_pem.write_to_path(made.key_path)
    return made
