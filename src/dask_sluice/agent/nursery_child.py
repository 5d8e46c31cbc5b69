"""What happens in a process between its fork from the nursery and the agent's first line.

Split from the nursery because it runs in another process: nothing here may touch the nursery's state, and
whatever fails is told to the nursery through a pipe, which passes it on to the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Optional, TypedDict

from ..wire.launch import LAST_WORDS_VARIABLE, LAUNCH_VARIABLE
from ..wire.processes import process_stat
from .read_early import take_over


class Account(TypedDict):
    """A Unix account to change to."""

    name: str
    uid: int
    gid: int


class Fork(TypedDict):
    """What the server asks for: one process. Paths are absolute."""

    job: str
    launch: str
    log: str
    log_bytes: int
    mark: str
    exit: str
    last_words: str
    cwd: str
    user: Optional[Account]
    variables: dict[str, str]


def run(fork: Fork, status: int, run_agent: Callable[[str], Any]) -> NoReturn:
    """Become the job: warm, or through a new interpreter where a variable asks for it.

    status     the pipe to the nursery: told once, when the process is ready, or why it cannot be
    run_agent  called with the path of the launch document; imported before, since the job's account may not be
               able to read the files that this Python comes from
    """
    marked = False
    try:
        os.setsid()
        _reset_signals()
        os.umask(0o077)
        if fork["user"] is not None:
            _become(fork["user"])
        told = _mark(fork["mark"])
        marked = True
        _redirect(fork["log"])
        os.chdir(fork["cwd"])
    except OSError as error:
        if marked:
            os.unlink(fork["mark"])
        _tell(status, {"error": error.strerror or str(error), "errno": error.errno, "path": error.filename})
        os._exit(125)
    _tell(status, told)
    anew = take_over(fork["variables"])
    os.environ[LAUNCH_VARIABLE] = fork["launch"]
    os.environ[LAST_WORDS_VARIABLE] = fork["last_words"]
    if anew:
        _run_cold(fork["launch"])
    gc.enable()
    sys.exit(run_agent(fork["launch"]))


def _run_cold(launch: str) -> NoReturn:
    """The same staged agent through a new interpreter."""
    with open(launch) as file:
        role = json.load(file)["role"]
    os.execv(sys.executable, [sys.executable, sys.argv[0], role])


def _tell(status: int, told: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the nursery was killed meanwhile: the server finds the mark
        os.write(status, json.dumps(told).encode())
    os.close(status)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _become(user: Account) -> None:
    """Change to the account for good, and prove that there is no way back."""
    os.initgroups(user["name"], user["gid"])
    os.setgid(user["gid"])
    os.setuid(user["uid"])
    if (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) != (user["uid"],) * 2 + (user["gid"],) * 2:
        raise PermissionError(1, "the change of account did not take hold", user["name"])
    if user["uid"] != 0:
        try:
            os.seteuid(0)
        except PermissionError:
            _stay_visible()
            return
        raise PermissionError(1, "root's rights could be taken back after the change of account", user["name"])


def _stay_visible() -> None:
    """Undo Linux' hiding of a process that changed its account: distributed reads its own /proc/self/fd."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE; this memory holds nothing of other users


def _mark(path: str) -> dict[str, Any]:
    """Leave number and start time where the server looks for what runs. There already: it was forked before."""
    stat = process_stat(os.getpid())
    assert stat is not None
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, f"{stat.pid} {stat.start_time}\n".encode())
    except OSError as error:  # disk full, quota
        os.unlink(path)
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)
    return {"pid": stat.pid, "start_time": stat.start_time}


def _redirect(log: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)
