"""What an administrator can set for the local backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class LocalSettings:
    """Clusters as processes of this machine. Times in seconds."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    stop_grace_s: Seconds = 3.0
    """How long a process may take to end by itself before it is killed."""
    nursery_unused_s: Seconds = 1800.0
    """An environment's warm parent process is ended when no cluster has used it for so long."""
    environment_timeout_s: Seconds = 60.0
    """How long an environment may take to import distributed; on slow network disks it takes long."""
    shared_account: str = ""
    """As root: the Unix account for clusters whose owner has none. Empty: the server's own account."""
    log_bytes: Annotated[int, Field(ge=10_000)] = 20_000_000
    """How much of what one scheduler or worker prints is kept, in bytes; of more, the newest. 20 MB: some hundred
    thousand lines, and a thousand such workers need 20 GB. It is cut every two seconds, so a process may be over it
    for so long."""
