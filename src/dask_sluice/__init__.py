"""Dask clusters on shared machines, through one address.

    from dask_sluice import Gateway
    cluster = Gateway("http://...").new_cluster(worker_memory=8)

Names are imported on first use, so that the server, which never needs distributed, can import this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.async_gateway import AsyncGateway
    from .client.auth import BasicAuth, JupyterHubAuth, KerberosAuth, TokenAuth
    from .client.cluster import GatewayCluster
    from .client.errors import (
        GatewayClusterError,
        GatewayServerError,
        GatewayWarning,
        ServerUnreachable,
        StartTimedOut,
    )
    from .client.forwarding import Credential, forward_file
    from .client.gateway import Gateway
    from .client.kubecluster import KubeCluster
    from .client.options import Options
    from .client.reports import ClusterReport
    from .wire.errors import SluiceError

__version__ = "0.1.0.dev0"

_HOMES = {
    "AsyncGateway": "client.async_gateway",
    "BasicAuth": "client.auth",
    "ClusterReport": "client.reports",
    "Credential": "client.forwarding",
    "Gateway": "client.gateway",
    "GatewayCluster": "client.cluster",
    "GatewayClusterError": "client.errors",
    "GatewayServerError": "client.errors",
    "GatewayWarning": "client.errors",
    "JupyterHubAuth": "client.auth",
    "KerberosAuth": "client.auth",
    "KubeCluster": "client.kubecluster",
    "Options": "client.options",
    "ServerUnreachable": "client.errors",
    "SluiceError": "wire.errors",
    "StartTimedOut": "client.errors",
    "TokenAuth": "client.auth",
    "forward_file": "client.forwarding",
}

__all__ = [
    "AsyncGateway",
    "BasicAuth",
    "ClusterReport",
    "Credential",
    "Gateway",
    "GatewayCluster",
    "GatewayClusterError",
    "GatewayServerError",
    "GatewayWarning",
    "JupyterHubAuth",
    "KerberosAuth",
    "KubeCluster",
    "Options",
    "ServerUnreachable",
    "SluiceError",
    "StartTimedOut",
    "TokenAuth",
    "__version__",
    "forward_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
