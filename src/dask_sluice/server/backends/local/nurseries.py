"""The warm parents: one per environment, and per Unix account where accounts differ.

A nursery outlives this server. What it was started for is written beside its socket, in a directory that only
the server can write to, so that the next server finds it again and can trust what it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ....wire.errors import EnvironmentInvalid
from ....wire.processes import process_stat
from ..protocol import Unavailable
from . import environments
from .accounts import Account, own_account
from .connection import Connection, NurseryLost
from .directories import read_end
from .environments import Environment
from .settings import LocalSettings

logger = logging.getLogger(__name__)
_IDLE_S = 600.0
"""A nursery ends by itself after so long without children and without a server."""
_FIND_AGAIN_S = 2.0
_BORN_WITHIN_S = 0.01
_SAY_S = 0.05
"""For something that needs no answer."""


@dataclass(frozen=True)
class Purpose:
    """What a nursery is for. `path` is as the user wrote it; empty: the server's own environment."""

    path: str
    uid: int
    stage: str


@dataclass
class Nursery:
    """A nursery that answers, or did."""

    purpose: Purpose
    pid: int
    start_time: str
    socket_path: Path
    environment: Environment
    fingerprint: str
    connection: Connection
    used_at: float = field(default_factory=time.monotonic)

    @property
    def is_current(self) -> bool:
        """Whether new processes may be forked from it: it answers, and its environment is as it was."""
        return self.connection.is_open and self.environment.fingerprint == self.fingerprint


class Nurseries:
    """All nurseries of this server: started at first use, found again, ended when long unused."""

    def __init__(
        self,
        settings: LocalSettings,
        *,
        stage: Path,
        runtime_dir: Path,
        log_dir: Path,
        on_end: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._stage = stage
        self._runtime_dir = runtime_dir
        self._log_dir = log_dir
        self._on_end = on_end
        self._current: dict[Purpose, asyncio.Task[Nursery]] = {}
        self._old: list[Nursery] = []
        """Still connected for the ends of their children; nothing new is forked from them."""
        self._popen: list[subprocess.Popen[bytes]] = []
        self._tidying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find those that an earlier server left, and begin to warm the default environment's."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        await asyncio.gather(*(self._find_again(path) for path in self._runtime_dir.glob("nursery-*.sock")))
        self._warming(self._purpose("", own_account()), own_account())
        self._tidying = asyncio.create_task(self._tidy_for_ever())

    async def close(self) -> None:
        """End those without children, and let go of the others."""
        if self._tidying is not None:
            self._tidying.cancel()
        for task in self._current.values():
            task.cancel()  # has no effect on one that is ready
        await asyncio.gather(*self._current.values(), return_exceptions=True)
        for nursery in self._ready():
            if not await self._quit(nursery):
                await nursery.connection.close()
        _leave(self._popen)

    async def get(self, path: str, account: Account) -> Nursery:
        """A nursery for this environment and account, warm.

        raises  EnvironmentInvalid where the environment cannot run a cluster, Unavailable where it just failed
        """
        purpose = self._purpose(path, account)
        for _ in range(2):
            nursery = await asyncio.shield(self._warming(purpose, account))
            if await asyncio.to_thread(lambda found: found.is_current, nursery):
                nursery.used_at = time.monotonic()
                return nursery
            self._supersede(nursery)
        raise Unavailable("the process from which clusters are forked keeps ending")

    def pids(self) -> frozenset[int]:
        """Numbers of the nurseries that answer: they will write how their children ended."""
        return frozenset(nursery.pid for nursery in self._ready() if nursery.connection.is_open)

    def _purpose(self, path: str, account: Account) -> Purpose:
        # In the server's own environment one nursery serves all: as root, its forks change their account.
        return Purpose(path, account.uid if path else own_account().uid, str(self._stage))

    def _warming(self, purpose: Purpose, account: Account) -> asyncio.Task[Nursery]:
        task = self._current.get(purpose)
        if task is None or (task.done() and _result(task) is None):  # none yet, or it failed: try anew
            task = self._current[purpose] = asyncio.create_task(self._start_one(purpose, account))
            task.add_done_callback(_log_failure)
        return task

    def _supersede(self, nursery: Nursery) -> None:
        """Fork nothing more from it. Its children go on."""
        task = self._current.get(nursery.purpose)
        if task is not None and _result(task) is nursery:
            del self._current[nursery.purpose]
            self._old.append(nursery)

    def _ready(self) -> list[Nursery]:
        current = (_result(task) for task in self._current.values())
        return [*(nursery for nursery in current if nursery is not None), *self._old]

    # -- starting

    async def _start_one(self, purpose: Purpose, account: Account) -> Nursery:
        environment = environments.own_environment()
        if purpose.path:
            environment = await asyncio.to_thread(
                environments.find, purpose.path, account, self._settings.environment_timeout_s
            )
        fingerprint = environment.fingerprint
        socket_path = self._runtime_dir / f"nursery-{secrets.token_hex(6)}.sock"
        spawning = asyncio.create_task(asyncio.to_thread(self._spawn, purpose, environment, account, socket_path))
        try:
            process = await asyncio.shield(spawning)
            connection = await self._first_answer(socket_path)
        except asyncio.CancelledError:
            _end(await spawning, socket_path)
            raise
        except Unavailable as error:
            _end(process, socket_path)
            raise _could_not_start(purpose, self._log_of(purpose)) from error
        except OSError as error:
            raise Unavailable(f"no warm parent process can be started: {error}") from error
        stat = process_stat(process.pid)
        start_time = stat.start_time if stat is not None else ""
        nursery = Nursery(purpose, process.pid, start_time, socket_path, environment, fingerprint, connection)
        _remember(nursery)
        return nursery

    async def _first_answer(self, socket_path: Path) -> Connection:
        """A connection to a nursery that has answered, so is warm."""
        connection = await Connection.dial(str(socket_path), self._on_end)
        try:
            await connection.request("ping", timeout_s=self._settings.environment_timeout_s)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _log_of(self, purpose: Purpose) -> Path:
        name = hashlib.sha256(repr(purpose).encode()).hexdigest()[:12]
        return self._log_dir / f"nursery-{name}.log"

    def _spawn(
        self, purpose: Purpose, environment: Environment, account: Account, path: Path
    ) -> subprocess.Popen[bytes]:
        """Start a nursery that listens on a socket bound here: its user need not be able to make one."""
        # As root the default one stays root, so that it can become anybody; every other one is its user's own.
        runs_as = account if purpose.path else own_account()
        log = self._log_of(purpose)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, open(log, "ab") as out:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(16)
            process = subprocess.Popen(
                [environment.interpreter, str(self._stage), "nursery"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd="/",
                env=environments.variables(os.environ, runs_as, environment.interpreter),
                start_new_session=True,
                pass_fds=[listener.fileno()],
                **environments.identity(runs_as),
            )
            self._popen.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:  # the connection will tell that it ended
                process.stdin.write(json.dumps({"listen_fd": listener.fileno(), "idle_s": _IDLE_S}).encode())
        return process

    # -- finding again

    async def _find_again(self, socket_path: Path) -> None:
        try:
            connection = await Connection.dial(str(socket_path), self._on_end)
        except OSError:  # nobody listens any more
            _forget(socket_path)
            return
        if not _note(socket_path).exists():
            # Still warming when its server was killed: of no use to anyone. It reads that once it is warm.
            with contextlib.suppress(Unavailable):
                await connection.request("quit", timeout_s=_SAY_S)
            await connection.close()
            _forget(socket_path)
            return
        try:
            await _all_born(connection)
            state = json.loads(_note(socket_path).read_text())
        except (OSError, Unavailable):
            await connection.close()
            return
        purpose, environment = Purpose(**state["purpose"]), Environment(**state["environment"])
        known = (state["pid"], state["start_time"], socket_path, environment, state["fingerprint"])
        nursery = Nursery(purpose, *known, connection)
        if purpose.stage == str(self._stage) and purpose not in self._current:
            self._current[purpose] = asyncio.create_task(_at_once(nursery))
        else:
            self._old.append(nursery)

    # -- ending

    async def _tidy_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(60.0, self._settings.nursery_unused_s / 2))
            await self._tidy()

    async def _tidy(self) -> None:
        """End what is old or long unused, and has no children. The default environment's stays warm."""
        for process in list(self._popen):
            if process.poll() is not None:
                self._popen.remove(process)
        self._old = [nursery for nursery in self._old if not await self._quit(nursery)]
        for purpose, task in list(self._current.items()):
            nursery = _result(task)
            if nursery is None or not purpose.path:
                continue
            unused_s = time.monotonic() - nursery.used_at
            if unused_s > self._settings.nursery_unused_s and await self._quit(nursery):
                del self._current[purpose]

    async def _quit(self, nursery: Nursery) -> bool:
        """Whether it is over: not while it has children."""
        try:
            answer = await nursery.connection.request("quit", timeout_s=_FIND_AGAIN_S)
        except NurseryLost:
            answer = {"quitting": True}
        except Unavailable:
            return False
        if "quitting" in answer:
            await nursery.connection.close()
            _forget(nursery.socket_path)
            return True
        return False


async def _all_born(connection: Connection) -> None:
    """Return once every child has left its mark: a killed server's last request may just be under way.

    raises  Unavailable
    """
    deadline = time.monotonic() + _FIND_AGAIN_S
    while time.monotonic() < deadline:
        answer = await connection.request("list", timeout_s=_FIND_AGAIN_S)
        if all(child["start_time"] for child in answer.get("children", ())):
            return
        await asyncio.sleep(_BORN_WITHIN_S)


async def _at_once(nursery: Nursery) -> Nursery:
    return nursery


def _result(task: asyncio.Task[Nursery]) -> Nursery | None:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _log_failure(task: asyncio.Task[Nursery]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("No warm parent process: %s", error)


def _note(socket_path: Path) -> Path:
    return socket_path.with_suffix(".json")


def _remember(nursery: Nursery) -> None:
    state = {
        "purpose": asdict(nursery.purpose),
        "pid": nursery.pid,
        "start_time": nursery.start_time,
        "environment": asdict(nursery.environment),
        "fingerprint": nursery.fingerprint,
    }
    unfinished = nursery.socket_path.with_suffix(".new")
    unfinished.write_text(json.dumps(state))
    unfinished.rename(_note(nursery.socket_path))


def _forget(socket_path: Path) -> None:
    for path in (socket_path, _note(socket_path), socket_path.with_suffix(".new")):
        path.unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes], socket_path: Path) -> None:
    """End a nursery that is not ready yet: it has no children."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
    _forget(socket_path)


def _could_not_start(purpose: Purpose, log: Path) -> EnvironmentInvalid | Unavailable:
    """The error to raise: with what the interpreter said last."""
    lines = read_end(log, 2000).strip().splitlines()[-1:] or ["it did not say why"]
    if purpose.path:
        return EnvironmentInvalid(
            f"the environment {purpose.path} cannot run a cluster: {lines[0][:500]}",
            hint="On the server's machine, let its python import distributed: that shows all of the error.",
        )
    return Unavailable(f"the server's own environment cannot run a cluster: {lines[0][:500]}")


def _leave(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let nurseries outlive this server: `Popen` would warn that its process still runs."""
    for process in processes:
        if process.poll() is None:
            process.returncode = 0
    processes.clear()
