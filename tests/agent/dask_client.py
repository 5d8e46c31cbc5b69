"""A user's session in the cluster's own environment: does what the lines on standard input say.

A program and not a module of the tests, since Dask's client must be of the same release as its cluster. Runs on
Python 3.9. Every line is `[command, argument...]`; every answer is one line, the command's result.
"""

import contextlib
import json
import os
import sys
import time
import warnings
from typing import Any

from distributed import Client, wait
from distributed.security import Security

HELD: dict[str, Any] = {}
WARNED: list[str] = []


def keep_warning(message: Any, *_: Any, **__: Any) -> None:
    WARNED.append(str(message))


def compute(client: Any, count: int) -> int:
    return sum(client.gather(client.map(lambda number: number + 1, range(count), pure=False)))


def hold(client: Any, count: int) -> None:
    """Keep results on the workers."""
    HELD["results"] = client.map(lambda number: number + 1, range(count), pure=False)
    wait(HELD["results"])


def hold_scattered(client: Any, count: int) -> None:
    """Have every worker keep something that nobody could compute again."""
    workers = list(client.scheduler_info()["workers"])
    HELD["results"] = [client.scatter(number + 1, workers=[workers[number % len(workers)]]) for number in range(count)]


def hold_bytes(client: Any, size: int) -> None:
    """Keep so much on one worker, until its scheduler has heard of it."""
    HELD["results"] = [client.submit(lambda: b"x" * size, pure=False)]
    wait(HELD["results"])
    while all(worker["metrics"]["memory"] < size for worker in client.scheduler_info()["workers"].values()):
        time.sleep(0.05)


def held(client: Any) -> int:
    return sum(client.gather(HELD["results"]))


def let_go(client: Any) -> None:
    """Hold results no longer: a worker that has some is not idle."""
    HELD.clear()


class Counter:
    """An actor: it lives on one worker, and cannot be moved."""

    count = 0


def hold_actor(client: Any) -> str:
    """Name of the worker that has it."""
    HELD["actor"] = client.submit(Counter, actor=True, pure=False)
    wait(HELD["actor"])
    ((address, *_),) = client.who_has([HELD["actor"]]).values()
    return str(client.scheduler_info()["workers"][address]["name"])


def start_sleep(client: Any, seconds: float) -> None:
    HELD["sleep"] = client.submit(time.sleep, seconds, pure=False)


def start_many_sleeps(client: Any, count: int, seconds: float) -> None:
    HELD["sleeps"] = client.map(lambda _: time.sleep(seconds), range(count), pure=False)


def crash(client: Any, exit_code: int) -> None:
    """End the process of the worker that takes this task. Nobody waits for the result."""
    HELD["crash"] = client.submit(os._exit, exit_code, pure=False)


def fill_memory(client: Any, size: int) -> None:
    def fill() -> None:
        memory = bytearray(size)
        memory[::4096] = b"x" * len(memory[::4096])
        time.sleep(60)

    HELD["fill"] = client.submit(fill, pure=False)


def worker_pids(client: Any) -> dict[str, int]:
    return client.run(os.getpid)


def wait_for_another_process(client: Any, pid: int) -> None:
    """Until the worker runs in another process than this one."""
    while True:
        with contextlib.suppress(OSError):  # it ends while it is asked
            pids = worker_pids(client).values()
            if pids and pid not in pids:
                return
        time.sleep(0.05)


def random_numbers(client: Any) -> list[float]:
    def draw() -> float:
        import numpy

        return float(numpy.random.random())

    return sorted(client.run(draw).values())


def first_warning(client: Any) -> str:
    """The first that this client shows; looked for often, since nothing tells."""
    while not WARNED:
        time.sleep(0.02)
    return WARNED[0]


def restart(client: Any) -> None:
    client.restart()


def shutdown(client: Any) -> None:
    client.shutdown()


def main() -> None:
    warnings.showwarning = keep_warning
    setup = json.loads(sys.stdin.readline())
    security = Security(
        tls_ca_file=setup["ca_certificate"],
        tls_client_cert=setup["certificate"],
        tls_client_key=setup["key"],
        require_encryption=True,
    )
    with Client(setup["address"], security=security) as client:
        print("null", flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(globals()[name](client, *arguments)), flush=True)


if __name__ == "__main__":
    main()
