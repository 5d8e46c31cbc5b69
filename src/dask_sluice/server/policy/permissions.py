"""Who may do what with a cluster, and what a new one is called."""

from __future__ import annotations

import re
from enum import StrEnum

from ...wire.errors import ClusterNotFound, PermissionDenied
from ..model import Caller, ClusterRecord

OWNER_PART = 30
"""`daskgateway-` (12) + owner + `-` + 8 has to stay below the 63 characters of a DNS label."""


class Action(StrEnum):
    """What someone may want to do with a cluster."""

    SEE = "see"
    SCALE = "scale"
    STOP = "stop"
    READ_LOGS = "read_logs"
    CONNECT = "connect"


def may(caller: Caller, action: Action, record: ClusterRecord) -> bool:
    """Whether this caller may do that. Whoever may connect can run code as the owner: nobody else may."""
    if caller.name == record.spec.owner:
        return True
    return caller.is_admin and action is not Action.CONNECT


def check(caller: Caller, action: Action, record: ClusterRecord) -> None:
    """Somebody else's cluster looks like one that does not exist."""
    if not may(caller, action, record):
        raise ClusterNotFound(f"no cluster named {record.name!r}", details={"cluster": record.name})


def check_admin(caller: Caller, what: str) -> None:
    """Raise unless the caller is an administrator."""
    if not caller.is_admin:
        raise PermissionDenied(f"only administrators may {what}", hint="Setting authenticator.admins names them.")


def cluster_name(owner: str, suffix: str) -> str:
    """The name of a new cluster: a DNS label that shows whose it is. `suffix`: 8 random hex digits."""
    slug = re.sub(r"[^a-z0-9]+", "-", owner.lower())[:OWNER_PART].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"u-{slug}"[:OWNER_PART].strip("-")
    return f"{slug}-{suffix}"
