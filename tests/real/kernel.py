"""A notebook's kernel that makes a cluster, works with it, lets go of it in some order, and ends.

`python -m tests.real.kernel ADDRESS STEP ...` prints a line of JSON for the cluster and for each step: what it was,
how long it took, what it raised.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from dask_sluice import Gateway

STEPS = (
    "interrupted result",
    "interrupted close",
    "interrupted wait",
    "client.close",
    "client.shutdown",
    "cluster.close",
    "cluster.shutdown",
    "gateway.close",
    "gateway.stop_cluster",
    "forget client",
    "forget cluster",
)
ENDS = ("end", "exit", "killed")


class Kernel:
    """Steps by name."""

    def __init__(self, address: str) -> None:
        self.gateway = Gateway(address)
        self.is_closed = False
        self.was_ended = False
        """From then on whatever waits for the cluster is right to fail."""
        self.cluster: Any = self.gateway.new_cluster(worker_memory=0.5, quiet=True)
        self.name = self.cluster.name
        self.cluster.scale(1)
        self.client: Any = self.cluster.get_client()
        assert self.client.submit(sum, [1, 2]).result(timeout=60) == 3

    def take(self, step: str) -> None:
        """Take one step; what it raises is the user's to see."""
        steps: dict[str, Callable[[], Any]] = {
            "interrupted result": lambda: self._interrupted(self._wait_for_a_result, 0.3),
            "interrupted close": lambda: self._interrupted(lambda: self.cluster and self.cluster.close(), 0.02),
            "interrupted wait": lambda: self._interrupted(self._wait_for_workers, 0.3),
            "client.close": lambda: self.client and self.client.close(),
            "client.shutdown": lambda: self.client and self.client.shutdown(),
            "cluster.close": lambda: self.cluster and self.cluster.close(),
            "cluster.shutdown": lambda: self.cluster and self.cluster.shutdown(),
            "gateway.close": self._close_gateway,
            "gateway.stop_cluster": self._stop_cluster,
            "forget client": lambda: setattr(self, "client", None),
            "forget cluster": lambda: setattr(self, "cluster", None),
        }
        self.was_ended = self.was_ended or step.endswith(("stop_cluster", "shutdown", "close"))
        steps[step]()

    def _close_gateway(self) -> None:
        self.gateway.close()
        self.is_closed = True

    def _stop_cluster(self) -> None:
        """A closed gateway says that it is."""
        try:
            self.gateway.stop_cluster(self.name)
        except RuntimeError as error:
            if not (self.is_closed and "make a new Gateway" in str(error)):
                raise

    def _wait_for_a_result(self) -> None:
        if self.client is not None and self.client.status == "running":
            self.client.submit(time.sleep, 60, pure=False).result()
        time.sleep(60)

    def _wait_for_workers(self) -> None:
        if self.cluster is not None and self.client is not None and self.client.status == "running":
            self.client.wait_for_workers(50)
        time.sleep(60)

    def _interrupted(self, work: Callable[[], Any], after_s: float) -> None:
        """As by Ctrl-C in the middle of it. What ends before that is interrupted too late, in a pause of its own."""
        failed: Exception | None = None
        timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - looked at below
                failed = error
            time.sleep(60)
        except KeyboardInterrupt:
            timer.join()
        if failed is not None and not self.was_ended:
            raise failed


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    address, *steps, end = sys.argv[1:]
    kernel = Kernel(address)
    say(cluster=kernel.name)
    for step in steps:
        began, raised = time.monotonic(), ""
        try:
            kernel.take(step)
        except Exception as error:  # noqa: BLE001 - whatever a user would see
            raised = f"{type(error).__name__}: {error}"
        say(step=step, took_s=time.monotonic() - began, raised=raised)
    say(ending=time.time())
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "exit":
        sys.exit(0)


if __name__ == "__main__":
    main()
