"""What an administrator can set for the local backend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalSettings:
    """Times in seconds."""

    stop_grace_s: float = 3.0
    """How long a process may take to end by itself before it is killed."""
    nursery_unused_s: float = 1800.0
    """An environment's warm parent process is ended when no cluster has used it for so long."""
    environment_timeout_s: float = 60.0
    """How long an environment may take to import distributed; on slow network disks it takes long."""
    shared_account: str = ""
    """As root: the Unix account for clusters whose owner has none. Empty: the server's own account."""
