"""Errors and warnings that users of dask-gateway know by these names."""

from __future__ import annotations

from ..wire.errors import SluiceError


class GatewayServerError(SluiceError):
    """The server failed, or what answers is no dask-sluice server; `code` says which of the ways that can be."""

    code, status, title = "unusable_answer", 502, "Unusable answer"


class ServerUnreachable(SluiceError, OSError):
    """Nothing answers at the address; `code` says which hop broke."""

    code, status, title = "server_unreachable", 503, "Server unreachable"


class GatewayClusterError(SluiceError):
    """A cluster cannot do what was asked of it: it failed to start, has ended, or is not running."""

    code, status, title = "cluster_unusable", 409, "Cluster is not usable"


class StartTimedOut(GatewayClusterError, TimeoutError):
    """The time given to `new_cluster(timeout=...)` is over; the sentence says what it was waiting for."""

    code = "start_timed_out"


class GatewayWarning(UserWarning):
    """Something is other than asked: a limit changed a number, a cluster ended."""
