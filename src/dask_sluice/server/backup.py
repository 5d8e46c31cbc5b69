"""Backup of a server at work, and putting it back: the database and the secrets that go with it, in one tar file.

Not in it: clusters' own files, which belong to processes that run or ran on this machine and stay where they are.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .directories import Directories, Lock, prepare
from .startup import CannotStart

SECRETS = ("token", "proxy-token")
"""So that addresses that were handed out, and proxies that still run, go on working."""


def back_up(places: Directories, file: Path) -> None:
    """Write everything to a new file that only its owner can read; the server may run meanwhile.

    raises  CannotStart where there is nothing to back up, or the file is there already
    """
    if not places.database.is_file():
        raise CannotStart(f"there is no database in {places.data}", hint="Name the server's --data-dir.")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"cannot write {file}: {error.strerror}", hint="Name a file that is not there yet."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                _pack(places, archive, file.parent)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        file.unlink()
        raise


def _pack(places: Directories, archive: tarfile.TarFile, aside: Path) -> None:
    with tempfile.TemporaryDirectory(dir=aside, prefix=".backup-") as folder:
        copy = Path(folder) / places.database.name
        _copy_database(places.database, copy)
        archive.add(copy, places.database.name, filter=_private)
    for name in SECRETS:
        if (secret := places.data / name).is_file():
            archive.add(secret, name, filter=_private)


def restore(places: Directories, file: Path) -> Path | None:
    """Put a backup in the place of what is there, while no server runs; where the old database is now, if any.

    raises  CannotStart while a server runs, or where the file is no backup
    """
    prepare(places)
    lock = Lock(places.lock)
    lock.take()
    try:
        with tempfile.TemporaryDirectory(dir=places.data, prefix=".restore-") as folder:
            found = _unpack(file, Path(folder), places.database.name)
            kept = _set_aside(places.database)
            for path in found:
                path.replace(places.data / path.name)
        return kept
    finally:
        lock.release()


def _copy_database(database: Path, copy: Path) -> None:
    """One consistent state of it, whatever is written meanwhile."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as source:
        copy.touch(mode=0o600)
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            # One file, to be opened by whoever opens it next.
            target.execute("PRAGMA journal_mode=DELETE")
    _check(copy)


def _check(database: Path) -> None:
    with _opened(database) as connection:
        try:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError as error:
            answer = str(error)
    if answer != "ok":
        raise CannotStart(f"the copy of the database is damaged: {answer}")


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def _private(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
    return member


def _unpack(file: Path, folder: Path, database: str) -> list[Path]:
    """What a backup holds, as files: nothing but what we put into one, wherever its names may point."""
    found = []
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                if member.name in (database, *SECRETS) and member.isfile():
                    found.append(_unpack_one(archive, member, folder / member.name))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise CannotStart(f"cannot read {file}: {error}") from error
    if folder / database not in found:
        raise CannotStart(f"{file} is no backup: it holds no {database}")
    _check(folder / database)
    return found


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Path:
    source = archive.extractfile(member)
    assert source is not None  # it is a plain file
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        shutil.copyfileobj(source, out)
        out.flush()
        os.fsync(out.fileno())
    return path


def _set_aside(database: Path) -> Path | None:
    """Move the present database away, with its journal: a restored one must not meet another's."""
    if not database.exists():
        return None
    kept = database.with_name(f"{database.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
    for ending in ("-wal", "-shm", ""):
        part = Path(f"{database}{ending}")
        if part.exists():
            part.replace(f"{kept}{ending}")
    return kept
