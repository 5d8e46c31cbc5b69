"""What templates may name of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..identity.names import escaped
from ..model import Caller

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
