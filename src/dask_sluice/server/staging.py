"""Lays the agent out as a directory that any Python can run: what a job's command line names.

A cluster's environment has nothing of ours installed, so the server brings the agent along: a copy of `wire/` and
`agent/` under a package name of its own, with a `__main__.py` in front. The directory is named by its content: a
new release of the server lays out a new one, and processes that run from an old one are not disturbed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "sluice_agent"
_ROOMS = ("wire", "agent")
_MAIN = f"""import sys

from {PACKAGE}.agent.main import main

sys.exit(main())
"""


def stage(root: Path) -> Path:
    """The agent's directory under `root`, made if it is not there. Everybody may read it.

    Safe to call at any time, also by several servers at once: a directory appears whole or not at all.
    """
    files = agent_files()
    directory = root / _fingerprint(files)
    if directory.is_dir():
        return directory
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=root))
    try:
        _write(unfinished, files)
        unfinished.rename(directory)
    except OSError:
        if not directory.is_dir():  # else somebody else was quicker, with the same content
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def archive() -> tuple[bytes, str]:
    """The agent as a zip that any Python runs, and its fingerprint: the same content gives the same bytes."""
    files = agent_files()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue(), _fingerprint(files)


def agent_files() -> Mapping[str, bytes]:
    """Path in the directory and content of every file."""
    source = Path(__file__).resolve().parent.parent
    files = {"__main__.py": _MAIN.encode(), f"{PACKAGE}/__init__.py": b'"""The agent of dask-sluice, staged."""\n'}
    for room in _ROOMS:
        for path in sorted((source / room).rglob("*.py")):
            files[f"{PACKAGE}/{path.relative_to(source).as_posix()}"] = path.read_bytes()
    return files


def _fingerprint(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    for folder, _, _ in os.walk(directory):
        os.chmod(folder, 0o755)  # whatever the umask says: clusters run as other users
