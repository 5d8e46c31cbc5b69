"""Homes and identities for clouds, as docs/kubernetes.md shows them, where `restricted` is enforced.

A worker has its own user's folder, whose files are that user's, and no way to anybody else's; and a token for one
audience, which is no key to Kubernetes.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice import BasicAuth, Gateway
from dask_sluice.wire.errors import SluiceError

from ..conftest import not_here
from ..live import LiveServer
from ..server.backends.kubernetes.test_docs import EXAMPLES
from . import site
from .kube import Kube
from .user import SLOW_S

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")

SHOWN = yaml.safe_load(next(text for text in EXAMPLES if "serviceAccountToken" in text))
AUDIENCE = "sts.amazonaws.com"
PASSWORD = "of them both"
USERS = {"ada": 1001, "grace": 1000}


@pytest.fixture
def homes(kube: Kube) -> Iterator[tuple[str, Path]]:
    """A namespace with the claim `homes`, and where that is on the node, which here is this machine."""
    if kube.directory is None:
        not_here("a folder on the node of the cluster of KUBECONFIG")
    with (
        tempfile.TemporaryDirectory(prefix="sluice-homes-") as folder,
        kube.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace,
    ):
        Path(folder).chmod(0o755)
        for user, uid in USERS.items():  # as a hub makes them
            home = Path(folder) / user
            home.mkdir(mode=0o700)
            (home / "secret").write_text(f"of {user}")
            for path in (home, home / "secret"):
                os.chown(path, uid, 100)
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        size = {"storage": "1Gi"}
        kube.apply(
            namespace,
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": namespace},
                "spec": {**common, "capacity": size, "hostPath": {"path": folder}},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "homes"},
                "spec": {**common, "resources": {"requests": size}, "volumeName": namespace},
            },
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dask-reader"}},
        )
        yield namespace, Path(folder)
        kube.run("delete", "persistentvolume", namespace, "--wait=false")


def _worker() -> Callable[[], dict[str, Any]]:
    """A function that says what a task finds; made here, since workers have none of our modules."""

    def look() -> dict[str, Any]:
        import os
        import ssl
        import urllib.error
        import urllib.request

        homes = os.listdir("/home")
        with open(f"/home/{homes[0]}/secret") as file:
            secret = file.read()
        with open(f"/home/{homes[0]}/result", "w") as file:
            file.write("42")
        with open("/proc/mounts") as file:
            mounted = [
                line.split()[1] for line in file if "sluice-homes" in line or line.split()[1].startswith("/home")
            ]
        with open(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]) as file:
            token = file.read()
        address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}/api/v1/namespaces"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
        try:
            urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=20)
            answer = 200
        except urllib.error.HTTPError as error:
            answer = error.code
        return {
            "homes": homes,
            "secret": secret,
            "mounted": mounted,
            "user": os.getuid(),
            "claims": token.split(".")[1],
            "answer": answer,
        }

    return look


@contextmanager
def worker_of(server: LiveServer, user: str) -> Iterator[tuple[Gateway, dict[str, Any]]]:
    """What a worker of this user finds."""
    with Gateway(server.address, auth=BasicAuth(user, PASSWORD)) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        with cluster.get_client() as client:
            client.wait_for_workers(1, timeout=SLOW_S)
            yield gateway, client.submit(_worker()).result(timeout=SLOW_S)


def test_users_have_their_own_home_and_identity_and_nobody_elses(
    kube: Kube, homes: tuple[str, Path], tmp_path: Path
) -> None:
    namespace, folder = homes
    ours = {"authenticator": {"kind": "basic", "basic": {"password": PASSWORD}}, "policy": SHOWN["policy"]}
    with site.server(kube, namespace, tmp_path, **ours) as server:
        for user, uid in USERS.items():
            with worker_of(server, user) as (gateway, found):
                assert (found["homes"], found["mounted"]) == ([user], [f"/home/{user}"])
                assert (found["secret"], found["user"]) == (f"of {user}", uid)
                assert (folder / user / "result").stat().st_uid == uid
                claims = json.loads(base64.urlsafe_b64decode(found["claims"] + "=="))
                assert claims["aud"] == [AUDIENCE]
                assert claims["sub"] == f"system:serviceaccount:{namespace}:dask-reader"
                assert claims["exp"] - claims["iat"] <= 3700
                assert found["answer"] == 401
                for option in ("backend", "volumes", "run_as_user"):
                    wish: dict[str, Any] = {option: None}
                    with pytest.raises((SluiceError, ValueError, TypeError), match=option):
                        gateway.new_cluster(**wish)
