"""The proxy beside the stock Go proxy and a direct connection, interleaved in one run.

What is carried are plain bytes behind a real ClientHello, since neither proxy looks at more than that: so the
numbers are the proxies' own and not those of TLS.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.environments import environment

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
BULK_BYTES = 512 << 20
PINGS = 2000
MESSAGE = bytes(256)
CONNECTIONS = 300


@dataclass(frozen=True)
class Measure:
    """One row: how it is measured, and what ours must reach beside stock."""

    name: str
    unit: str
    take: Callable[[int, bytes], float]
    goal: float
    smaller_is_better: bool = False


def _open(port: int, first: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(first)
    return connection


def to_scheduler(port: int, hello: bytes) -> float:
    piece = bytes(1 << 20)
    with _open(port, hello + b"t" + BULK_BYTES.to_bytes(8, "big")) as connection:
        started = time.perf_counter()
        for _ in range(BULK_BYTES >> 20):
            connection.sendall(piece)
        connection.recv(1)
        return BULK_BYTES / (time.perf_counter() - started) / 1e6


def to_client(port: int, hello: bytes) -> float:
    buffer = bytearray(1 << 20)
    with _open(port, hello + b"g" + BULK_BYTES.to_bytes(8, "big")) as connection:
        started = time.perf_counter()
        left = BULK_BYTES
        while left > 0:
            left -= connection.recv_into(buffer)
        seconds = time.perf_counter() - started
        connection.sendall(b"!")
        return BULK_BYTES / seconds / 1e6


def round_trip(port: int, hello: bytes) -> float:
    taken = []
    with _open(port, hello + b"e") as connection:
        for _ in range(PINGS):
            started = time.perf_counter()
            connection.sendall(MESSAGE)
            connection.recv(len(MESSAGE), socket.MSG_WAITALL)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


def connections(port: int, hello: bytes) -> float:
    started = time.perf_counter()
    for _ in range(CONNECTIONS):
        with _open(port, hello + b"c") as connection:
            connection.recv(1)
    return CONNECTIONS / (time.perf_counter() - started)


MEASURES = [
    Measure("proxy: bulk to the scheduler", "MB/s", to_scheduler, 1.3),
    Measure("proxy: bulk to the client", "MB/s", to_client, 1.3),
    Measure("proxy: round trip of 256 bytes", "µs", round_trip, 0.7, smaller_is_better=True),
    Measure("proxy: new connections by TLS server name", "1/s", connections, 1.3),
]


def rows(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row per measure, medians of all rounds."""
    hello = _client_hello()
    with _running(hello) as ports:
        results: dict[tuple[str, str], list[float]] = {}
        for measure in MEASURES:
            for _ in range(rounds):
                for who, port in ports.items():
                    results.setdefault((measure.name, who), []).append(measure.take(port, hello))
    return [
        _row(measure, {who: statistics.median(results[measure.name, who]) for who in ports}) for measure in MEASURES
    ]


def _row(measure: Measure, medians: dict[str, float]) -> dict[str, Any]:
    ratio = medians["ours"] / medians["stock"]
    return {
        "name": measure.name,
        "unit": measure.unit,
        **{who: round(value, 1) for who, value in medians.items()},
        "ratio_to_stock": round(ratio, 2),
        "goal": f"{'<=' if measure.smaller_is_better else '>='} {measure.goal} x stock",
        "met": ratio <= measure.goal if measure.smaller_is_better else ratio >= measure.goal,
    }


@contextlib.contextmanager
def _running(hello: bytes) -> Iterator[dict[str, int]]:
    """Ports on which the same scheduler is reached: directly, through stock, through ours."""
    with contextlib.ExitStack() as stack:
        peers = [sys.executable, str(ROOT / "bench" / "_proxy_peers.py")]
        target = _printed_port(stack, [*peers, "scheduler", str(len(hello))])
        routes = _printed_port(stack, [*peers, "routes", str(target)])
        ports = {"ours": _start_ours(stack, routes), "stock": _start_stock(stack, routes), "direct": target}
        for port in ports.values():
            _wait_until_it_passes(port, hello)
        yield ports


def _printed_port(stack: contextlib.ExitStack, command: list[str]) -> int:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    stack.callback(_end, process)
    assert process.stdout is not None
    return int(process.stdout.readline())


def _start_ours(stack: contextlib.ExitStack, routes: int) -> int:
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
    settings = {
        "listen_fd": listening.fileno(),
        "servers": [f"http://127.0.0.1:{routes}"],
        "token": "bench",
        "log_level": "warning",
    }
    command = [sys.executable, "-m", "dask_sluice.proxy"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
    stack.callback(_end, process)
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings).encode())
    process.stdin.close()
    port: int = listening.getsockname()[1]
    return port


def _start_stock(stack: contextlib.ExitStack, routes: int) -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [
        str(_stock_proxy()),
        *("-address", f"127.0.0.1:{port}"),
        *("-api-url", f"http://127.0.0.1:{routes}/api/v1/routes"),
        *("-log-level", "ERROR"),
    ]
    process = subprocess.Popen(command, env=os.environ | {"DASK_GATEWAY_PROXY_TOKEN": "bench"})
    stack.callback(_end, process)
    return port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _stock_proxy() -> Path:
    """The Go proxy's binary."""
    packages = environment("stock").parents[1].glob("lib/python*/site-packages")
    return next(packages) / "dask_gateway_server" / "proxy" / "dask-gateway-proxy"


def _wait_until_it_passes(port: int, hello: bytes) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), _open(port, hello + b"c") as connection:
            if connection.recv(1) == b"!":
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing is carried on port {port} after 10 s")
        time.sleep(0.05)


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    channel = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="daskgateway-bench")
    with contextlib.suppress(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()
