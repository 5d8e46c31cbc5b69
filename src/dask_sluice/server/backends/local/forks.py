"""What a nursery is told when it shall fork, and what it means when the system says no. Pure."""

from __future__ import annotations

import errno
from typing import Any

from ....wire.launch import SchedulerLaunch, WorkerLaunch
from ..protocol import Job, Refused, Unavailable
from .accounts import Account
from .directories import JobFiles


def complete(launch: SchedulerLaunch | WorkerLaunch, files: JobFiles) -> dict[str, Any]:
    """The launch document with what only this backend knows: where a worker may put what does not fit in memory.

    With the cluster's other files, so that it goes with them, however the worker ended.
    """
    if launch.get("local_directory") == "":
        return {**launch, "local_directory": str(files.directory)}
    return {**launch}


def fork_request(job: Job, files: JobFiles, account: Account, log_bytes: int) -> dict[str, Any]:
    """What the nursery is told (`agent/nursery_child.py`, class Fork)."""
    user = {"name": account.name, "uid": account.uid, "gid": account.gid} if account.change else None
    return {
        "job": job.id,
        "launch": str(files.launch),
        "log": str(files.log),
        "log_bytes": log_bytes,
        "mark": str(files.mark),
        "exit": str(files.exit),
        "last_words": str(files.last_words),
        "cwd": str(files.directory),
        # A nursery of another environment runs as the account already.
        "user": user if not job.environment else None,
        "variables": {**(account.variables if account.change else {}), **job.variables},
    }


def cannot_start(number: int | None, message: str | None, path: str | None, account: str) -> Refused | Unavailable:
    """The error for a job that cannot be started, from what the system said to this account."""
    where = f": {path}" if path else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"the disk is full{where}")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) and path:
        return Refused(
            f"the account {account} cannot write {path} ({message});"
            " it must own that directory, and be able to pass through every one above it"
        )
    if number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return Unavailable(f"this machine has no room for another process: {message}")
    return Unavailable(f"{message or 'the process could not be started'}{where}")
