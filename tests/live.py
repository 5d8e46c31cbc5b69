"""A real `dask-sluice serve` for tests: free port, own data directory, gone at the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from distributed import Client

PATIENCE_S = 120.0
KILLED = "import atexit, threading; atexit._clear(); threading._threading_atexits.clear()\n"
"""A program that has run this ends as if it were killed, as pods are: it closes nothing."""


def until(holds: Callable[[], Any], what: str) -> None:
    """Return once it holds; looked at often, since nothing tells."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)


CONFIGURED: dict[str, Any] = {
    "variables": {"FOO": "bar"},
    "dask_config": {"distributed.worker.memory.spill": 0.5, "distributed.scheduler": {"allowed-failures": 20}},
}
"""Options of a cluster whose processes are all to be `configured`."""


def configured(client: Client) -> set[tuple[Any, ...]]:
    """What the scheduler and every worker have of what `CONFIGURED` asks for: one entry where they agree."""

    def found() -> tuple[Any, ...]:
        import os

        import dask

        keys = ("distributed.worker.memory.spill", "distributed.scheduler.allowed-failures")
        return (os.environ.get("FOO"), *map(dask.config.get, keys))

    return {client.run_on_scheduler(found), *client.run(found).values()}


class LiveServer:
    """A server process. `url` holds the token, `address` does not."""

    def __init__(self, data_dir: Path, *arguments: str, port: int = 0) -> None:
        self.data_dir = data_dir
        self._arguments = arguments
        self._port = str(port)
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    @property
    def address(self) -> str:
        return self.url.partition("/?")[0]

    @property
    def token(self) -> str:
        return parse_qs(urlsplit(self.url).query)["token"][0]

    @property
    def log(self) -> str:
        return (self.data_dir / "serve.log").read_text()

    def start(self) -> None:
        """Return when it is ready; started again, it takes the port that it had."""
        command = [sys.executable, "-m", "dask_sluice", "serve", "--port", self._port, "--data-dir", str(self.data_dir)]
        with (self.data_dir / "serve.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready: "):
                self.url = line.removeprefix("ready: ").strip()
                self._port = str(urlsplit(self.url).port)
                return
        raise AssertionError(f"the server ended with exit code {self._process.wait()}:\n{self.log}")

    def stop(self) -> int:
        """Ask it to stop, as a terminal would; its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a fault would: nothing is cleaned up."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code
