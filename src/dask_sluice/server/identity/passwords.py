"""Password hashes as they stand in the configuration: `scrypt$<log2 n>$<r>$<p>$<salt>$<hash>`, base64.

scrypt is in the standard library and costs an attacker memory as well as time. The parameters travel with
the hash, so they can be raised without making old hashes useless.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

_FORM = re.compile(r"scrypt\$(\d{1,2})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/]{16,}={0,2})\$([A-Za-z0-9+/]{40,}={0,2})")
_LOG2_N, _R, _P = 15, 8, 1
"""OWASP's second choice of parameters: 32 MiB and some 60 ms on today's machines."""
_MOST_MEMORY = 256 * 2**20


@dataclass(frozen=True)
class _Hash:
    log2_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def of(self, password: str) -> bytes:
        n = 2**self.log2_n
        return hashlib.scrypt(
            password.encode(), salt=self.salt, n=n, r=self.r, p=self.p, maxmem=_MOST_MEMORY, dklen=len(self.digest)
        )


def hash_password(password: str) -> str:
    """What to write into the configuration for this password; another text at each call."""
    blank = _Hash(_LOG2_N, _R, _P, os.urandom(16), b"\0" * 32)
    salt, digest = (base64.b64encode(part).decode() for part in (blank.salt, blank.of(password)))
    return f"scrypt${_LOG2_N}${_R}${_P}${salt}${digest}"


def is_hash(text: str) -> bool:
    """Whether `text` is something that `verify` can compare with."""
    return _parse(text) is not None


def verify(password: str, stored: str) -> bool:
    """Whether `stored` is a hash of `password`. Takes some 60 ms of one core: call it in a thread."""
    parsed = _parse(stored)
    return parsed is not None and hmac.compare_digest(parsed.of(password), parsed.digest)


def _parse(text: str) -> _Hash | None:
    if (match := _FORM.fullmatch(text)) is None:
        return None
    log2_n, r, p = (int(part) for part in match.group(1, 2, 3))
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in match.group(4, 5))
    except binascii.Error:
        return None
    fits = 1 <= log2_n <= 20 and 1 <= r <= 32 and 1 <= p <= 16 and 128 * r * 2**log2_n < _MOST_MEMORY
    return _Hash(log2_n, r, p, salt, digest) if fits else None
