"""How long the agent takes from a fork to its use, and what CPU time that costs.

    python -m tests.agent.measure [PYTHON]

Forks from the real nursery; prints milliseconds: scheduler until its hello, one worker, two at once until the server
knows them, and the time from a stop to the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from .harness import Agents, agents

ROUNDS = 7


class Nursery:
    """A real nursery, asked over its socket."""

    def __init__(self, starter: Agents) -> None:
        self._starter = starter
        path = starter.directory / "nursery.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            self.process = subprocess.Popen(
                [starter.python, str(starter.stage), "nursery"],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "6640"},
            )
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({"listen_fd": listener.fileno(), "idle_s": 100}).encode())
            self.process.stdin.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._ended: set[str] = set()
        self._lines = self._socket.makefile("rb")
        self.ask("ping")

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self._socket.sendall(json.dumps({"op": op, "id": 1, **fields}).encode() + b"\n")
        while "id" not in (answer := json.loads(self._lines.readline())):
            self._ended.add(answer["job"])
        return dict(answer)

    def fork(self, name: str, launch: Any) -> int:
        directory = self._starter.directory
        (directory / f"{name}.json").write_text(json.dumps(launch))
        paths = {key: str(directory / f"{name}.{key}") for key in ("log", "mark", "exit")}
        files = {**paths, "launch": str(directory / f"{name}.json"), "last_words": str(directory / f"{name}.why")}
        answer = self.ask("fork", job=name, cwd=str(directory), user=None, variables={}, **files)
        assert "pid" in answer, answer
        return int(answer["pid"])

    def end_of(self, job: str) -> None:
        while job not in self._ended:
            self._ended.add(json.loads(self._lines.readline())["job"])

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
        self.process.terminate()
        self.process.wait()


async def measure_one(starter: Agents, nursery: Nursery, number: int) -> dict[str, float]:
    server, found = starter.server, {}
    server.heard.clear()
    begin = time.monotonic()
    nursery.fork(f"scheduler-{number}", starter.scheduler_launch())
    hello = await server.hear("hello")
    found["scheduler"] = hello["at"] - begin
    starter.address = f"tls://127.0.0.1:{hello['scheduler_port']}"
    await asyncio.sleep(1)
    begin = time.monotonic()
    nursery.fork(f"a{number}", starter.worker_launch("a"))
    found["one worker"] = (await server.hear_workers("a"))["at"] - begin
    await asyncio.sleep(1)
    launches = [(f"{name}{number}", starter.worker_launch(name)) for name in "bc"]
    begin = time.monotonic()
    for name, launch in launches:
        nursery.fork(name, launch)
    found["two workers"] = (await server.hear_workers("a", "b", "c"))["at"] - begin
    await asyncio.sleep(1)
    begin = time.monotonic()
    await server.say("stop", reason="measured")
    await asyncio.to_thread(nursery.end_of, f"scheduler-{number}")
    found["stop"] = time.monotonic() - begin
    for name in (f"a{number}", f"b{number}", f"c{number}"):
        await asyncio.to_thread(nursery.end_of, name)
    return found


async def measure(python: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with agents(Path(directory), python) as starter:
            nursery = Nursery(starter)
            rounds = [await measure_one(starter, nursery, number) for number in range(ROUNDS)]
            nursery.close()
    for name in rounds[0]:
        times = sorted(1000 * each[name] for each in rounds)
        print(f"{name:12} best {times[0]:6.1f}  median {median(times):6.1f}  worst {times[-1]:6.1f} ms")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU of all processes: {children.ru_utime + children.ru_stime:.2f} s; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else sys.executable))
