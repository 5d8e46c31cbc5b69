"""Keeping a job's log from filling the disk: what is too long moves aside, and only the newest of that is kept.

The processes of a job hold the log open and append, so it cannot be moved: it is copied to `.log.1` and emptied.
Done by the nursery, because it lives on when the server does not.
"""

from __future__ import annotations

import os
import stat
import sys

_CHUNK = 1_000_000
EARLIER = ".1"
"""Ending of the file with the earlier part; the server reads both."""


def trim(path: str, most_bytes: int) -> bool:
    """Move the log aside if it has more than half of what a job may keep; whether it was.

    As root this works in a directory of the job's user: no link is followed, and only that user's plain file is cut.
    """
    try:
        if os.lstat(path).st_size <= most_bytes // 2:  # one cheap look, for nearly every log
            return False
        folder, name = os.path.split(path)
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # not there yet, or the cluster was forgotten
        return False
    try:
        return _move(where, name, most_bytes)
    except OSError as error:  # disk full, most likely: then what is there counts less than that there is room
        print("cannot trim {}: {}".format(path, error), file=sys.stderr, flush=True)
        return False
    finally:
        os.close(where)


def _move(where: int, name: str, most_bytes: int) -> bool:
    log = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=where)
    try:
        found, owner = os.fstat(log), os.fstat(where).st_uid
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            return False
        try:
            _keep(where, name, log, max(0, found.st_size - most_bytes), owner)
        finally:
            os.ftruncate(log, 0)
        return True
    finally:
        os.close(log)


def _keep(where: int, name: str, log: int, begin: int, owner: int) -> None:
    """Copy the log from `begin` on to the file of its earlier part, whole or not at all."""
    unfinished = ".{}.{}".format(name, os.getpid())
    kept = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=where)
    try:
        if os.geteuid() == 0:
            os.fchown(kept, owner, -1)
        while True:
            chunk = os.pread(log, _CHUNK, begin)
            if not chunk:
                break
            os.write(kept, chunk)
            begin += len(chunk)
        os.rename(unfinished, name + EARLIER, src_dir_fd=where, dst_dir_fd=where)
    except OSError:
        os.unlink(unfinished, dir_fd=where)
        raise
    finally:
        os.close(kept)
