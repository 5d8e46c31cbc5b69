"""The proxies: started, watched, restarted at once when one ends, and taken over from a killed server.

A proxy is a process of its own in a session of its own. It outlives a killed server and goes on with the
routes that it has; the next server on the same address and with the same settings adopts it. Without a file to
be found again by, as under `dask-sluice proxy`, it ends with us.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..wire.processes import is_alive, process_stat
from . import listening
from .settings_schema import Listen, Log
from .startup import CannotStart

log = logging.getLogger(__name__)

STOP_S = 3.0
"""How much longer a proxy may take to stop than it gives its connections to end."""
LOOK_S = 0.25
DIED_YOUNG_S = 2.0
YOUNG_DEATHS_AT_MOST = 5
RESTART_S = 1.0


@dataclass(frozen=True)
class ProxyProcess:
    """One proxy, by number and start time: a number alone may be a stranger's by now."""

    pid: int
    start_time: str

    @property
    def lives(self) -> bool:
        return is_alive(self.pid, self.start_time)


def proxy_options(listen: Listen, log: Log, servers: Sequence[str], token: str, *, grace_s: float) -> dict[str, Any]:
    """What a proxy is told; the supervisor adds what is its own affair."""
    return {
        "prefix": listen.prefix,
        "tls_certificate": str(listen.tls_certificate) if listen.tls_certificate else None,
        "tls_key": str(listen.tls_key) if listen.tls_key else None,
        "servers": list(servers),
        "token": token,
        "max_connections_per_address": listen.max_connections_per_address,
        "hello_timeout_s": listen.hello_timeout_s,
        "grace_s": grace_s,
        "log_level": log.level,
    }


class Supervisor:
    """Keeps so many proxies running on one public socket."""

    def __init__(
        self,
        *,
        address: str,
        port: int,
        count: int,
        options: dict[str, Any],
        log_path: Path | None = None,
        file: Path | None = None,
    ) -> None:
        """`options` is the proxy's document on standard input, as `proxy_options` makes it.

        log_path  None: proxies write to our own standard error
        file      in which the next supervisor finds our proxies; None: they end with us
        """
        self._address = address
        self._port = port
        self._count = count
        self._options = options
        self._log_path = log_path
        self._file = file
        self._public: socket.socket | None = None
        self._proxies: list[ProxyProcess] = []
        self._adopted: list[ProxyProcess] = []
        self._stopping: list[ProxyProcess] = []
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._public is None:
            raise RuntimeError("the supervisor has not bound its port yet")
        return int(self._public.getsockname()[1])

    def bind(self) -> None:
        """Take the public port, or share it with our own proxies that a killed server left.

        raises  CannotStart
        """
        earlier = self._read()
        living = [proxy for proxy in _processes(earlier) if proxy.lives]
        port = int(earlier.get("port", 0))
        same = earlier.get("address") == self._address and self._port in (port, 0)
        if living and same and earlier.get("settings") == self._settings_digest():
            self._public = listening.bind(self._address, port, shared_with_our_proxies=True)
            self._adopted = living[: self._count]
            self._proxies = list(self._adopted)
            _end(living[self._count :])
            log.info("took over %d proxies that an earlier server left", len(self._adopted))
            return
        _end(living)
        if same and self._port == 0 and port and listening.is_free(self._address, port):
            # Schedulers that an earlier server left dial the port it had.
            self._public = listening.bind(self._address, port)
        else:
            self._public = listening.bind(self._address, self._port)

    def start(self) -> None:
        """Start as many proxies as are missing."""
        for _ in range(self._count - len(self._proxies)):
            self._start_one()

    async def run(self) -> None:
        """Keep the proxies running until cancelled; then they go on, see `stop`."""
        async with asyncio.TaskGroup() as group:
            for proxy in self._proxies:
                group.create_task(self._keep_one_running(proxy))

    async def stop(self, *, adopted: bool = True) -> None:
        """End the proxies, connections through them too; those that were adopted only if so asked."""
        proxies = [proxy for proxy in self._proxies if adopted or proxy not in self._adopted]
        self._proxies = [proxy for proxy in self._proxies if proxy not in proxies]
        self._stopping = proxies
        _end(proxies)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options["grace_s"] + STOP_S):
                while any(proxy.lives for proxy in proxies):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        _end([proxy for proxy in proxies if proxy.lives], signal.SIGKILL)
        if self._proxies:
            self._write()
        elif self._file is not None:
            self._file.unlink(missing_ok=True)

    def take_no_more(self) -> None:
        """Let go of the public socket, before the proxies do: what came to ours would wait for nobody."""
        if self._public is not None:
            self._public.close()

    def cut(self) -> None:
        """End what is being stopped, without giving its connections any more time."""
        _end(self._stopping, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the public socket; proxies that were not stopped go on."""
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # `Popen` would warn that its process still runs: it should
        if self._public is not None:
            self._public.close()

    async def _keep_one_running(self, proxy: ProxyProcess) -> None:
        """Wait for its end, start the next, for ever."""
        clock = asyncio.get_running_loop().time
        young_deaths, started = 0, clock()
        while True:
            await _ended(proxy)
            self._lost(proxy)
            young_deaths = young_deaths + 1 if clock() - started < DIED_YOUNG_S else 0
            if young_deaths >= YOUNG_DEATHS_AT_MOST:
                where = f"Its log: {self._log_path}" if self._log_path else "It wrote to standard error."
                raise CannotStart(f"the proxy cannot run: {self._last_line()}", hint=where)
            await asyncio.sleep(RESTART_S if young_deaths > 1 else 0)
            started = clock()
            proxy = self._start_one()

    def _start_one(self) -> ProxyProcess:
        if self._public is None:
            raise RuntimeError("the supervisor has not bound its port yet")
        # Only now: a socket that listens takes its share of the connections, and someone has to accept them.
        self._public.listen(listening.BACKLOG)
        descriptor = self._public.fileno()
        with self._log_path.open("ab") if self._log_path else nullcontext() as log_file:
            # Not asyncio's: that kills the processes that it lets go of.
            process = subprocess.Popen(
                [sys.executable, "-m", "dask_sluice.proxy"],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        self._children[process.pid] = process
        self._tell(process, {**self._options, "listen_fd": descriptor, "ends_with_parent": self._file is None})
        return self._register(process.pid)

    def _tell(self, process: subprocess.Popen[bytes], document: dict[str, Any]) -> None:
        """Its document; its standard input is left open where its end is to be that of the proxy."""
        if process.stdin is None:
            raise RuntimeError("a proxy was started without a standard input")
        with suppress(BrokenPipeError):  # it ended at once, which is noticed next
            process.stdin.write(json.dumps(document).encode() + b"\n")
            process.stdin.flush()
        if self._file is not None:
            process.stdin.close()

    def _register(self, pid: int) -> ProxyProcess:
        stat = process_stat(pid)
        proxy = ProxyProcess(pid, stat.start_time if stat else "")
        self._proxies.append(proxy)
        self._write()
        return proxy

    def _lost(self, proxy: ProxyProcess) -> None:
        child = self._children.pop(proxy.pid, None)
        code = child.wait() if child else None
        if child is not None and child.stdin is not None:
            child.stdin.close()
        if proxy in self._proxies:  # not when we are stopping
            self._proxies.remove(proxy)
            how = "" if code is None else f" with exit code {code}" if code >= 0 else f" by signal {-code}"
            log.warning("a proxy (pid %d) ended%s; starting another one", proxy.pid, how)

    def _settings_digest(self) -> str:
        return hashlib.sha256(json.dumps(self._options, sort_keys=True).encode()).hexdigest()

    def _read(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        try:
            document = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self) -> None:
        if self._file is None:
            return
        document = {
            "address": self._address,
            "port": self.port,
            "settings": self._settings_digest(),
            "proxies": [asdict(proxy) for proxy in self._proxies],
        }
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(document))
        aside.replace(self._file)

    def _last_line(self) -> str:
        if self._log_path is None:
            return "it has said why"
        with self._log_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing"


async def _ended(proxy: ProxyProcess) -> None:
    """Return when the process has ended."""
    try:
        descriptor = os.pidfd_open(proxy.pid)
    except (AttributeError, OSError):  # no Linux, or gone already
        while proxy.lives:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(LOOK_S)
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, gone.set)
    try:
        if proxy.lives:  # and not a stranger who was given the number since
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _processes(document: dict[str, Any]) -> list[ProxyProcess]:
    return [ProxyProcess(int(each["pid"]), str(each["start_time"])) for each in document.get("proxies", ())]


def _end(proxies: list[ProxyProcess], number: int = signal.SIGTERM) -> None:
    for proxy in proxies:
        if proxy.lives:
            with suppress(ProcessLookupError):
                os.kill(proxy.pid, number)
