"""What there is beside pods: Secrets with launch documents, the ConfigMap with the agent, network policies. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from ..protocol import Job, JobKind
from . import names
from .settings import KubernetesSettings
from .syntax import FOLDER

SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
WORKER_PORT = 8788
NANNY_PORT = 8789
"""Fixed, so that network policies can name them."""

AGENT_PATH = f"{FOLDER}/agent"
AGENT_FILE = "agent.zip"
LAUNCH_PATH = f"{FOLDER}/launch"
LAUNCH_VOLUME = "sluice-launch"
LAUNCH_FILE = "launch.json"
VARIABLES_FILE = "variables.json"
SCRATCH_PATH = f"{FOLDER}/scratch"

ALL_ADDRESSES = "0.0.0.0"
CLOSING_S = 5
"""What a worker keeps of its pod's grace to close, once others hold what it held."""


def owner_reference(kind: str, name: str, uid: str) -> dict[str, Any]:
    """What an object has that is to go when that one goes. It holds up nobody's deletion."""
    return {
        "apiVersion": "v1",
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }


def launch_of(job: Job, grace_s: int = 0) -> dict[str, Any]:
    """The job's launch document as it is in a pod: all addresses of the pod, fixed ports.

    grace_s   what the pod has to end in
    """
    placed: dict[str, Any] = {**job.launch, "host": ALL_ADDRESSES}
    if job.kind is JobKind.SCHEDULER:
        return {**placed, "port": SCHEDULER_PORT, "dashboard_port": DASHBOARD_PORT}
    placed |= {"port": WORKER_PORT, "nanny_port": NANNY_PORT, "local_directory": SCRATCH_PATH}
    return {**placed, "leave_s": max(0, grace_s - CLOSING_S)}


def secret_manifest(
    job: Job,
    settings: KubernetesSettings,
    *,
    namespace: str,
    owner: Mapping[str, Any] | None = None,
    grace_s: int = 0,
) -> dict[str, Any]:
    """The Secret of a job: its launch document, and its environment variables, which may be secret.

    owner     see `owner_reference`
    grace_s   see `launch_of`
    """
    name, labels = names.object_name(job.id), names.labels_of(job, settings)
    return secret_of(name, namespace, labels, launch_of(job, grace_s), job.variables, owner)


def secret_of(
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    launch: Mapping[str, Any],
    variables: Mapping[str, str],
    owner: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A Secret with a launch document and environment variables."""
    files = {LAUNCH_FILE: launch, VARIABLES_FILE: dict(variables)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(name, namespace, labels, owner),
        "type": "Opaque",
        "immutable": True,
        "data": {name: _base64(json.dumps(content).encode()) for name, content in files.items()},
    }


def agent_manifest(archive: bytes, fingerprint: str, settings: KubernetesSettings, *, namespace: str) -> dict[str, Any]:
    """The ConfigMap with the agent, which all pods of a namespace share.

    archive   a zip that Python runs
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(names.agent_config_map(fingerprint), namespace, names.agent_labels(settings), None),
        "immutable": True,
        "binaryData": {AGENT_FILE: _base64(archive)},
    }


def policy_manifest(
    job: Job, settings: KubernetesSettings, *, namespace: str, owner: Mapping[str, Any]
) -> dict[str, Any]:
    """The network policy of a cluster: its pods reach one another. Policies add up, so nothing is closed by it to which
    others open a way.

    job     the scheduler's
    owner   see `owner_reference`
    """
    pods = {"matchLabels": names.labels_of_cluster(job.cluster, settings)}
    name, labels = names.object_name(job.id), names.labels_of(job, settings)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(name, namespace, labels, owner),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": pods}]}],
            "egress": [{"to": [{"podSelector": pods}]}],
        },
    }


def _metadata(name: str, namespace: str, labels: Mapping[str, str], owner: Mapping[str, Any] | None) -> dict[str, Any]:
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    return {"name": name, "namespace": namespace, "labels": dict(labels), **owners}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
