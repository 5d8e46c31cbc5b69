"""The two servers that are measured, each started from its command, on a port and in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.environments import environment

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With compiled modules on both sides, as everybody has them."""


@dataclass(frozen=True)
class Running:
    """A server that answers. `processes` are its own and its proxy's, nothing of clusters."""

    module: str
    """The client that belongs to it."""
    python: Path
    address: str
    processes: tuple[int, ...]
    nurseries: tuple[int, ...]
    start_s: float
    """From the command to its being of use."""


@contextlib.contextmanager
def ours() -> Iterator[Running]:
    """`dask-sluice serve`, timed to the line `ready:`, given back when its nursery is warm."""
    with tempfile.TemporaryDirectory(prefix="bench-sluice-") as directory:
        data = Path(directory)
        command = [str(Path(sys.executable).with_name("dask-sluice")), "serve", "--port", "0", "--data-dir", directory]
        with _running(command, data) as (process, started):
            address = _ready_line(process, data)
            start_s = time.perf_counter() - started
            proxies = [proxy["pid"] for proxy in json.loads((data / "proxy.json").read_text())["proxies"]]
            yield Running(
                "dask_sluice",
                Path(sys.executable),
                address,
                (process.pid, *proxies),
                _warm_nurseries(data),
                start_s,
            )


@contextlib.contextmanager
def stock() -> Iterator[Running]:
    """`dask-gateway-server`, timed until its API answers behind its proxy: it does not say when it is ready."""
    python = environment("stock")
    with tempfile.TemporaryDirectory(prefix="bench-stock-") as directory:
        port = _free_port()
        (Path(directory) / "config.py").write_text(_STOCK_CONFIG.format(dask=str(python.with_name("dask")), port=port))
        command = [str(python.with_name("dask-gateway-server")), "-f", "config.py"]
        with _running(command, Path(directory)) as (process, started):
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api/health", process, Path(directory))
            start_s = time.perf_counter() - started
            yield Running("dask_gateway", python, address, (process.pid, *_children(process.pid)), (), start_s)


# Its own default commands, dask-scheduler and dask-worker, are not there any more in today's distributed.
_STOCK_CONFIG = """\
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.log_level = "WARN"
c.Proxy.address = "127.0.0.1:{port}"
c.Proxy.log_level = "WARN"
c.ClusterConfig.scheduler_cmd = ["{dask}", "scheduler"]
c.ClusterConfig.worker_cmd = ["{dask}", "worker"]
"""


@contextlib.contextmanager
def _running(command: list[str], directory: Path) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """The command, started in the directory, and when; ended with everything that it left in its session."""
    with (directory / "bench.log").open("w") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=ENVIRON,
            start_new_session=True,
        )
    try:
        yield process, started
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _ready_line(process: subprocess.Popen[str], directory: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready: "):
            return line.removeprefix("ready: ").strip()
    raise RuntimeError(f"the server ended:\n{(directory / 'bench.log').read_text()}")


def _wait_for(url: str, process: subprocess.Popen[str], directory: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.005)
    raise RuntimeError(f"nothing answers at {url}:\n{(directory / 'bench.log').read_text()}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _children(pid: int) -> tuple[int, ...]:
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return tuple(map(int, listing.split()))


def _warm_nurseries(data: Path) -> tuple[int, ...]:
    """Numbers of the warm parents, once they have said that they are warm."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        said = "".join(log.read_text() for log in data.glob("**/nursery-*.log"))
        if found := re.findall(r"nursery (\d+) warm", said):
            return tuple(map(int, found))
        time.sleep(0.05)
    raise RuntimeError("no nursery got warm")
