"""What the work at hand is about: a request, a cluster. Every log line written meanwhile says so (`logs.py`).

Kept in context variables, so nothing that is called needs to be told. A task takes over what it was started
with; one that goes on for longer than its cause says itself what it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request: ContextVar[str] = ContextVar("request", default="")
_cluster: ContextVar[str] = ContextVar("cluster", default="")


@contextmanager
def about(*, request: str = "", cluster: str = "") -> Iterator[None]:
    """Until this is left, lines are about this request and this cluster, and about nothing else."""
    tokens = _request.set(request), _cluster.set(cluster)
    try:
        yield
    finally:
        _request.reset(tokens[0])
        _cluster.reset(tokens[1])


def now_about(cluster: str) -> None:
    """From here on this task is about this cluster; what caused it is over, or will be before it."""
    _request.set("")
    _cluster.set(cluster)


def concerning(cluster: str) -> None:
    """The request at hand turns out to be about this cluster."""
    _cluster.set(cluster)


def current() -> dict[str, str]:
    """What lines are about just now; only what there is."""
    found = {"request": _request.get(), "cluster": _cluster.get()}
    return {key: value for key, value in found.items() if value}
