"""How a child of the nursery ended, and the `.exit` file that says so to whichever server looks later."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Optional, TypedDict


class End(TypedDict):
    """How a process ended: `exit_code`, or the name of the `signal` that killed it.

    `oom`: the kernel's out-of-memory killer was at work on this machine while it lived.
    """

    exit_code: Optional[int]
    signal: str
    time: float
    oom: bool


def ended_child() -> Optional[tuple[int, int]]:
    """Number and exit code (negative: a signal) of a child that ended, or None.

    It stays a zombie until `release`, so that nobody finds it gone before its end is written down.
    """
    try:
        if not hasattr(os, "waitid"):  # macOS: there the file comes a moment after
            pid, status = os.waitpid(-1, os.WNOHANG)
            return (pid, os.waitstatus_to_exitcode(status)) if pid else None
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_pid, ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def release(pid: int) -> None:
    """Let the number of an ended child go."""
    if hasattr(os, "waitid"):
        os.waitpid(pid, 0)


def how_it_ended(code: int, oom_killer_worked: bool) -> End:
    """An exit code as `ended_child` gives it, in words."""
    if code >= 0:
        return {"exit_code": code, "signal": "", "time": time.time(), "oom": False}
    name = _signal_name(-code)
    return {"exit_code": None, "signal": name, "time": time.time(), "oom": oom_killer_worked and name == "SIGKILL"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name of their own
        return f"signal {number}"


def oom_kills() -> int:
    """How often the kernel has killed a process of this machine for want of memory; 0 where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def write_exit(path: str, end: End) -> None:
    """Put `end` at `path`, whole or not at all.

    As root this writes into a directory of the job's user, who may have put links there: none is followed.
    """
    directory, name = os.path.split(path)
    try:
        where = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:  # the cluster was forgotten before its last process had ended
        print(f"cannot write {path}: {error}", file=sys.stderr, flush=True)
        return
    unfinished = f".{name}.{os.getpid()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(unfinished, flags, 0o600, dir_fd=where)
        with os.fdopen(fd, "w") as file:
            json.dump(end, file)
            if os.geteuid() == 0:  # what lies in a directory belongs to its owner: nothing else is read there
                os.fchown(fd, os.fstat(where).st_uid, -1)
        os.rename(unfinished, name, src_dir_fd=where, dst_dir_fd=where)
    except OSError as error:  # disk full: those connected now are told all the same
        print(f"cannot write {path}: {error}", file=sys.stderr, flush=True)
    finally:
        os.close(where)
