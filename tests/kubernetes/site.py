"""A whole server whose clusters are pods: `dask-sluice serve`, in the cluster's network, with its Role's rights."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from dask_sluice.server.backends.kubernetes.access import Access

from ..live import LiveServer
from .kube import IMAGE, Kube

SCHEDULER = {"cores": 1, "memory": "1 GiB", "cores_request": 0.01, "memory_request": "64 MiB"}
SMALL_WORKERS = {
    "worker_cores": {"default": 1, "sets": {"worker": {"cores_request": 0.01}}},
    "worker_memory": {"default": 1, "sets": {"worker": {"memory_request": "64 MiB"}}},
}
"""Options, by which many workers fit on a node."""


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        there = both.get(key)
        both[key] = merged(there, value) if isinstance(there, dict) and isinstance(value, dict) else value
    return both


def kubeconfig(access: Access, directory: Path) -> Path:
    """The account as a file: what a server outside of a pod is given."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": access.server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": "dask-sluice", "user": {"tokenFile": "token"}}],
        "contexts": [
            {
                "name": "here",
                "context": {"cluster": "here", "user": "dask-sluice", "namespace": access.namespace},
            }
        ],
        "current-context": "here",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


def address_for_pods(access: Access) -> str:
    """The address of this machine on the way to pods: in the kit's network, the node's."""
    host = urlsplit(access.server).hostname or ""
    if host in ("127.0.0.1", "localhost"):
        return "198.18.0.1"
    with socket.create_connection((host, urlsplit(access.server).port or 443)) as way:
        return str(way.getsockname()[0])


@contextmanager
def server(kube: Kube, namespace: str, directory: Path, **settings: Any) -> Iterator[LiveServer]:
    """A server over the namespace; `settings` over those that tests have."""
    asked = settings.get("backend", {}).get("kubernetes", {})
    further = {"warm_schedulers": "rights-warm", "isolate_clusters": "rights-isolation"}
    access = kube.account(namespace, directory / "account", *(further[key] for key in further if key in asked))
    ours = {
        "listen": {"address": address_for_pods(access)},
        "backend": {
            "kind": "kubernetes",
            "kubernetes": {
                "kubeconfig": str(kubeconfig(access, directory / "account")),
                "image": IMAGE,
                "pods": {"stop_grace_s": 5},
            },
        },
        "options": SMALL_WORKERS,
        "policy": {"defaults": {"scheduler": SCHEDULER}},
    }
    path = directory / "server.yaml"
    path.write_text(yaml.safe_dump(merged(ours, settings)))
    data = directory / "data"
    data.mkdir()
    with LiveServer(data, "--config", str(path)) as running:
        yield running
