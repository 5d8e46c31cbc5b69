"""Where the server keeps its files and sockets, and the lock that keeps a second server out of them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .startup import CannotStart


@dataclass(frozen=True)
class Directories:
    """The data directory, and the one for sockets, whose path is short: a socket's may have 107 bytes only."""

    data: Path
    runtime: Path

    @property
    def database(self) -> Path:
        return self.data / "sluice.db"

    @property
    def lock(self) -> Path:
        return self.data / "server.lock"

    @property
    def proxy_file(self) -> Path:
        return self.data / "proxy.json"

    @property
    def proxy_log(self) -> Path:
        return self.data / "logs" / "proxy.log"

    @property
    def server_socket(self) -> Path:
        return self.runtime / "server.sock"


def directories(given: Path | None) -> Directories:
    """Where things are for this data directory; None: the account's usual place."""
    data = (given or default_data_dir()).absolute()
    return Directories(data, runtime_dir(data))


def default_data_dir() -> Path:
    """The account's own place for data; for root one that other accounts can pass through to their clusters."""
    return Path("/var/lib/dask-sluice") if os.geteuid() == 0 else Path(platformdirs.user_data_dir("dask-sluice"))


def runtime_dir(data_dir: Path) -> Path:
    """The directory of the sockets that belong to this data directory."""
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / f"dask-sluice-{digest}"
    return Path("/tmp") / f"dask-sluice-{os.geteuid()}-{digest}"


def prepare(places: Directories) -> None:
    """Make the directories; everything in them is the server's alone.

    As root other accounts may pass through, to their clusters' own directories, and see nothing.

    raises  CannotStart where that is not possible
    """
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        places.data.mkdir(parents=True, exist_ok=True)
        places.data.chmod(mode)
        places.proxy_log.parent.mkdir(mode=0o700, exist_ok=True)
        places.runtime.mkdir(mode=mode, parents=True, exist_ok=True)
        _check_ours(places.runtime)
        places.runtime.chmod(mode)
    except OSError as error:
        raise CannotStart(
            f"cannot use the data directory {places.data}: {error.strerror}: {error.filename}",
            hint="Give one that this account may write to: --data-dir DIRECTORY",
        ) from error


def _check_ours(path: Path) -> None:
    """Somebody else's directory of that name in /tmp must not become the place of our sockets."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise CannotStart(f"{path} belongs to another account (uid {found.st_uid})", hint="Remove it.")


class Lock:
    """Held by the one server that uses a data directory; let go by the system when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it, or say who has it.

        raises  CannotStart
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise CannotStart(
                f"another dask-sluice server already runs on {self._path.parent}: {holder or 'it is just starting'}",
                hint="Stop that one, or give this one a --data-dir and a --port of its own.",
            ) from None
        self._descriptor = descriptor
        self.say("")

    def say(self, address: str) -> None:
        """What a second server tells of this one."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()} {address}".strip().encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
