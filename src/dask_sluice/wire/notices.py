"""What whoever works with a cluster is warned of, in the same words by its scheduler and by the client."""

from __future__ import annotations

from typing import Dict, Optional, Protocol

from .reasons import WORTH_A_WARNING
from .states import ClusterState


class Told(Protocol):
    """A reason, as the server has it or as the API shows it."""

    @property
    def code(self) -> str: ...

    @property
    def sentence(self) -> str: ...


def notices(
    name: str, state: ClusterState, reason: Told, *, lease: Optional[Told], budget: Optional[Told]
) -> Dict[str, str]:
    """What people at the cluster should know, while it holds: what it is about, and the sentence.

    That a number in a sentence about waiting has changed is no news.
    """
    said: Dict[str, str] = {}
    if lease:
        said[lease.sentence] = f"cluster {name} {lease.sentence}"
    if budget:
        said[budget.sentence] = f"cluster {name}: {budget.sentence}"
    if state is ClusterState.RUNNING and reason.code in WORTH_A_WARNING:
        said[str(reason.code)] = f"cluster {name}: {reason.sentence}"
    return said
