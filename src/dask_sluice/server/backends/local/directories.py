"""The files of a cluster: one directory each, 0700, owned by the account that its processes run as.

As root the server works here in directories that somebody else may write to. So no link is followed, only
plain files that belong to the directory's owner are read, and of those only so much.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .accounts import Account

_MOST_READ = 1_000_000


@dataclass(frozen=True)
class JobFiles:
    """Paths of the files of one job. Their names are told in `docs/develop/seams.md`."""

    directory: Path
    job_id: str

    @property
    def launch(self) -> Path:
        return self.directory / f"{self.job_id}.json"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.job_id}.log"

    @property
    def earlier_log(self) -> Path:
        """What was moved aside when the log grew too long."""
        return self.directory / f"{self.job_id}.log.1"

    @property
    def mark(self) -> Path:
        return self.directory / f"{self.job_id}.pid"

    @property
    def exit(self) -> Path:
        return self.directory / f"{self.job_id}.exit"

    @property
    def last_words(self) -> Path:
        return self.directory / f"{self.job_id}.why"


@dataclass(frozen=True)
class Mark:
    """What a nursery left beside a process that it forked."""

    pid: int
    start_time: str
    uid: int
    """Owner of the directory: as whom the process runs, whatever the mark says."""


class Directories:
    """The directories of all clusters."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self, *, open_to_others: bool) -> None:
        """Make the directory of directories. Others pass through it to their own, and can list nothing."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._root.chmod(0o711 if open_to_others else 0o700)

    def files(self, cluster: str, job_id: str) -> JobFiles:
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in (cluster, job_id)):
            raise ValueError(f"not the name of a cluster or a job: {cluster!r}, {job_id!r}")
        return JobFiles(self._root / cluster, job_id)

    def create(self, cluster: str, account: Account) -> Path:
        """The cluster's directory, made and given to the account if it is not there yet."""
        path = self._root / cluster
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if account.change:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        return path

    def write_launch(self, files: JobFiles, launch: Mapping[str, Any], account: Account) -> None:
        """Write the launch document so that the account, and it alone, can read it."""
        with _opened(files.directory) as directory:
            name = files.launch.name
            with suppress(FileNotFoundError):  # an attempt before may have left one, whatever it is by now
                os.unlink(name, dir_fd=directory)
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
            with os.fdopen(fd, "w") as file:
                json.dump(launch, file)
                file.flush()
                if account.change:
                    os.fchown(fd, account.uid, account.gid)

    def mark(self, files: JobFiles) -> Mark | None:
        """The mark of a job that was forked, or None."""
        text = read_end(files.mark, 200)
        words = text.split()
        if len(words) != 2 or not words[0].isdigit():
            return None
        return Mark(int(words[0]), words[1], files.directory.lstat().st_uid)

    def clusters(self) -> list[str]:
        """Names of all clusters that have a directory."""
        try:
            return sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def marked(self, of: str | None = None) -> Iterator[tuple[str, JobFiles, Mark]]:
        """Name, job and mark of every cluster's jobs, or of this cluster's."""
        for cluster in self.clusters() if of is None else [of]:
            for name in self._names(cluster):
                files = JobFiles(self._root / cluster, name.removesuffix(".pid"))
                if name.endswith(".pid") and (mark := self.mark(files)) is not None:
                    yield cluster, files, mark

    def _names(self, cluster: str) -> list[str]:
        """What is in a cluster's directory; nothing where there is none, or a link in its place."""
        directory = self._root / cluster
        try:
            return [] if directory.is_symlink() else sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def forget(self, cluster: str) -> None:
        """Delete all of a cluster. Gone already is success; links are deleted, not followed."""
        shutil.rmtree(self._root / cluster, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """The document at `path`; empty where there is none, or none that can be read."""
    try:
        document = json.loads(read_end(path, _MOST_READ) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def read_end(path: Path, most_bytes: int) -> str:
    """The last bytes of a cluster's file as text, empty where there is none."""
    with opened_file(path) as found:
        data = found.end(most_bytes) if found else b""
    # A cut may fall into a character: what is left of it goes, so that the text is no longer than asked for.
    return data.decode("utf-8", errors="ignore")


@dataclass(frozen=True)
class OpenFile:
    """A file of a cluster, open for reading."""

    descriptor: int
    size: int
    identity: str
    """Another one for each file that ever had this name."""

    def end(self, most_bytes: int) -> bytes:
        """The last bytes of what it held when it was opened: it may be written meanwhile."""
        begin = max(0, self.size - most_bytes)
        return self.part(begin, self.size - begin)

    def part(self, begin: int, most_bytes: int) -> bytes:
        return os.pread(self.descriptor, most_bytes, begin)


@contextmanager
def opened_file(path: Path) -> Iterator[OpenFile | None]:
    """The file, or None where there is none.

    Only a plain file that belongs to the directory's owner: no link, of either kind, to somebody else's.
    """
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(_opened(path.parent))
            fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            stack.callback(os.close, fd)
            found, owner = os.fstat(fd), os.fstat(directory).st_uid
        except OSError:
            yield None
            return
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == owner
        yield OpenFile(fd, found.st_size, f"{found.st_ino:x}.{found.st_mtime_ns:x}") if ours else None


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)
