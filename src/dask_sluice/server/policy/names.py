"""What templates may name of a user, among it a form of the name that labels of every system accept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..model import Caller

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
LONGEST = 63
USER_NAMES = ("user.name", "user.escaped", "user.group", "user.groups", "user.is_admin")


def user_values(caller: Caller) -> Mapping[str, Any]:
    """What `{user...}` stands for."""
    return {
        "user.name": caller.name,
        "user.escaped": escaped(caller.name),
        "user.group": caller.groups[0] if caller.groups else "",
        "user.groups": caller.groups,
        "user.is_admin": caller.is_admin,
    }


def escaped(name: str) -> str:
    """A name as a label, a volume's name, a part of a path: as kubespawner's labels have it, where they are valid.

    Every letter but a-z and 0-9 becomes `-` and its bytes in hex. A first letter that is none gets `u-` before it
    (Kubernetes refuses kubespawner's own form there), what is too long ends in a digest. No two names become one.
    """
    text = "".join(
        each if each in _PLAIN else "".join(f"-{byte:02x}" for byte in each.encode("utf-8", "surrogatepass"))
        for each in name
    )
    if text[:1] not in _PLAIN:
        text = f"u-{text}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 10].rstrip('-')}--{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return text
