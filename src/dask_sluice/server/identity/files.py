"""Secrets that outlive a restart: small files in the data directory that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def keep_secret(path: Path) -> str:
    """The secret in the file; a fresh one where there is no file yet, or an empty one.

    raises  PermissionError where others could read it: then it is no secret, and somebody has to look
    """
    try:
        with path.open(encoding="utf-8") as file:
            _refuse_others(path, os.fstat(file.fileno()))
            if text := file.read().strip():
                return text
    except FileNotFoundError:
        pass
    text = secrets.token_urlsafe(32)
    # Written aside and moved, so that a crash leaves the old file or the new one, never half of one.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    aside.replace(path)
    return text


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if found.st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others; make it yours alone: chmod 600 {path}")
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{path} belongs to another account (uid {found.st_uid})")
