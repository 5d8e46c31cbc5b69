"""Names that travel: header fields, SNI prefix, paths. One place, so that no end spells them twice."""

from __future__ import annotations

SNI_PREFIX = "daskgateway-"
"""A TLS ClientHello for the scheduler of cluster `c` carries the server name `daskgateway-c`.

dask-gateway's clients send exactly this; it cannot be ours to choose."""

API_ROOT = "/api/v2"
LINK_PATH = API_ROOT + "/clusters/{name}/link"
"""WebSocket that a scheduler's agent opens to the server."""
TUNNEL_PATH = "/tunnel/{name}"
"""WebSocket whose binary messages are the bytes of one TCP connection to the scheduler."""
DASHBOARD_PATH = "/clusters/{name}/status"

IDEMPOTENCY_HEADER = "Idempotency-Key"
REQUEST_ID_HEADER = "X-Request-ID"
PROBLEM_TYPE = "application/problem+json"


def server_name(cluster: str) -> str:
    """The TLS server name that routes a connection to this cluster's scheduler."""
    return SNI_PREFIX + cluster
