"""Ending everything that a job started, and nothing else.

A job leads its own session. Its processes are those of that session, their children, and those which left the
session but carry the job's launch file in their environment. Nobody is signalled by number alone: a process must
have started when it should have, and as root it must belong to the account that the job runs as, because marks
and numbers pass through files and processes of users, who could name any other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ....wire.launch import LAUNCH_VARIABLE
from ....wire.processes import ZOMBIE, ProcessStat, is_alive, process_ids, process_stat
from ..protocol import Unavailable

_ROUNDS = 8
"""How often to look again for processes forked while their siblings were being killed."""
_KERNEL = 2
"""Number of the process that is the parent of all threads of Linux."""
_KILL_TAKES_S = 5.0


@dataclass(frozen=True)
class Session:
    """A job's processes, named by the first one: when it started, and as whom it runs."""

    pid: int
    start_time: str
    uid: int
    launch: str

    @property
    def leader(self) -> ProcessStat | None:
        """The first process, maybe a zombie; None once its number is free or a stranger's."""
        stat = process_stat(self.pid)
        ours = stat is not None and stat.start_time == self.start_time and _belongs_to(self.pid, self.uid)
        return stat if ours else None


@dataclass(frozen=True)
class _Target:
    pid: int
    start_time: str
    uid: int


@dataclass(frozen=True)
class _Look:
    """What one look at all processes found."""

    targets: dict[Session, list[_Target]]
    is_settled: bool
    """False if something ended or was between two programs just then: what it had started may have been missed."""


class Sessions:
    """Ends sessions. Those ended at the same time share their looks at the list of all processes."""

    def __init__(self) -> None:
        self._asked: list[tuple[Session, asyncio.Future[_Look]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def end(self, session: Session, grace_s: float) -> None:
        """Ask the leader to end, then kill it and all that it left. Gone already is success.

        raises  Unavailable where something cannot be killed, as when it hangs in the kernel
        """
        await _signal_and_wait([_Target(session.pid, session.start_time, session.uid)], signal.SIGTERM, grace_s)
        members: list[_Target] = []
        for _ in range(_ROUNDS):
            look = await self._look(session)
            members = look.targets.get(session, [])
            if members:
                await _signal_and_wait(members, signal.SIGKILL, _KILL_TAKES_S)
            elif look.is_settled:
                return
        if members:
            raise Unavailable(f"processes {[member.pid for member in members]} do not end although they were killed")

    def _look(self, session: Session) -> asyncio.Future[_Look]:
        """A look that begins from now on."""
        found: asyncio.Future[_Look] = asyncio.get_running_loop().create_future()
        self._asked.append((session, found))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_asked())
        return found

    async def _look_while_asked(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            look = await asyncio.to_thread(_look, [session for session, _ in asked])
            for _, found in asked:
                if not found.done():
                    found.set_result(look)


def living(sessions: Sequence[Session]) -> set[Session]:
    """Those of which anything still runs. Blocks."""
    return set(_look(sessions).targets)


def _look(sessions: Sequence[Session]) -> _Look:
    """Look at all processes once, for every living one of these sessions."""
    found, is_settled = _processes()
    by_leader = {session.pid: session for session in sessions if not _is_reused(session, found)}
    by_mark = {f"{LAUNCH_VARIABLE}={session.launch}".encode(): session for session in sessions}
    owners: dict[int, Session] = {}
    for pid, stat in found.items():
        session = by_leader.get(stat.session)
        if session is None and (environment := _environment(pid)) is not None:
            session = next((by_mark[entry] for entry in environment if entry in by_mark), None)
            is_settled = is_settled and not _is_between_programs(stat, environment)
        if session is not None:
            owners[pid] = session
    _add_descendants(owners, found.values())
    targets: dict[Session, list[_Target]] = {}
    for pid, session in owners.items():
        if found[pid].state != ZOMBIE and _belongs_to(pid, session.uid):
            targets.setdefault(session, []).append(_Target(pid, found[pid].start_time, session.uid))
    return _Look(targets, is_settled)


def _is_reused(session: Session, found: dict[int, ProcessStat]) -> bool:
    """Whether the session is long over: while one process of it lives, its number is given to no new one."""
    present = found.get(session.pid)
    return present is not None and present.start_time != session.start_time


def _processes() -> tuple[dict[int, ProcessStat], bool]:
    """Every process, and whether none ended while we looked."""
    found: dict[int, ProcessStat] = {}
    none_ended = True
    for pid in process_ids():
        try:
            stat = process_stat(pid)
        except PermissionError:  # hidden from us (hidepid), so not ours
            continue
        if stat is None:
            none_ended = False
        else:
            found[pid] = stat
    return found, none_ended


def _environment(pid: int) -> list[bytes] | None:
    """What a program was started with, one `NAME=value` each (Linux only); None if that is not for us to see."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # another account's, gone, or no /proc
        return None


def _is_between_programs(stat: ProcessStat, environment: Sequence[bytes]) -> bool:
    """Whether a process is inside `exec`: for that moment it shows neither environment nor arguments."""
    if environment != [b""] or stat.state == ZOMBIE or _KERNEL in (stat.pid, stat.parent):
        return False
    try:
        with open(f"/proc/{stat.pid}/cmdline", "rb") as file:
            return not file.read()
    except OSError:
        return True


def _add_descendants(owners: dict[int, Session], found: Iterable[ProcessStat]) -> None:
    children: dict[int, list[int]] = {}
    for stat in found:
        children.setdefault(stat.parent, []).append(stat.pid)
    waiting = list(owners)
    while waiting:
        parent = waiting.pop()
        for pid in children.get(parent, []):
            if pid not in owners:
                owners[pid] = owners[parent]
                waiting.append(pid)


def _belongs_to(pid: int, uid: int) -> bool:
    """Whether a process runs as this account. Asked as root only: anyone else can signal nothing but his own."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return True
    try:
        with open(f"/proc/{pid}/status") as file:
            line = next(line for line in file if line.startswith("Uid:"))
    except OSError:
        return False
    return int(line.split()[1]) == uid


async def _signal_and_wait(targets: Sequence[_Target], number: signal.Signals, most_s: float) -> None:
    """Signal each process if it is still the one meant, and return when all have ended or time is up."""
    ends = [end for target in targets if (end := _signal(target, number)) is not None]
    if not ends:
        return
    _, pending = await asyncio.wait(ends, timeout=most_s)
    for end in pending:
        end.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def _signal(target: _Target, number: signal.Signals) -> asyncio.Future[None] | None:
    """Signal a process; a future of its end, or None if it is not there."""
    if not hasattr(os, "pidfd_open"):
        return _signal_by_number(target, number)
    try:
        fd = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return None
    try:
        # From here the descriptor stands for one process: if it is the right one now, it stays so.
        if not is_alive(target.pid, target.start_time) or not _belongs_to(target.pid, target.uid):
            os.close(fd)
            return None
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        os.close(fd)
        return None
    return _end_of(fd)


def _end_of(fd: int) -> asyncio.Future[None]:
    """A future of the end of the process that `fd` stands for; closes it."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()

    def ended() -> None:
        if not end.done():
            end.set_result(None)

    loop.add_reader(fd, ended)

    def let_go(_: asyncio.Future[None]) -> None:
        loop.remove_reader(fd)
        os.close(fd)

    end.add_done_callback(let_go)
    return end


def _signal_by_number(target: _Target, number: signal.Signals) -> asyncio.Future[None] | None:
    """Where the system has no process descriptors (macOS): look, signal, and look again until it is gone."""
    if not is_alive(target.pid, target.start_time):
        return None
    try:
        os.kill(target.pid, number)
    except ProcessLookupError:
        return None

    async def gone() -> None:
        while is_alive(target.pid, target.start_time):  # noqa: ASYNC110 - nothing tells, so nothing to wait for
            await asyncio.sleep(0.05)

    return asyncio.ensure_future(gone())
