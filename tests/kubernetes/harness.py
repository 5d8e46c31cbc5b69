"""What tests of the backend share: pods that play parts, and a look at what is there with kubectl.

The pods run the stand-in for the agent that the local backend's tests have (`local_stage/main.py`).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from dask_sluice.server.backends.kubernetes.access import Access
from dask_sluice.server.backends.kubernetes.backend import KubernetesBackend
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Backend, Job, JobKind, Size
from dask_sluice.server.clock import SystemClock
from dask_sluice.server.store import Store
from dask_sluice.server.store.engines import Location
from dask_sluice.wire.launch import SchedulerLaunch, WorkerLaunch

from ..server.backends import local_harness
from ..server.backends.conformance import Harness
from .kube import Kube

PLAYER_IMAGE = "registry.test/python:3.11"
MIB = 2**20
# It asks for next to nothing, so that many fit; a limit as low would make Python take ten seconds to start.
SMALL = Size(cores=0.5, cores_request=0.01, memory_bytes=64 * MIB, threads=1)
_PARTS = Path(local_harness.__file__).parent / "local_stage" / "main.py"
_MAIN = """

def hog(_: Any) -> int:
    held = [bytearray(b"x" * 2**20) for _ in range(500)]
    return len(held)


PLAYS["hog"] = hog

if __name__ == "__main__":
    sys.exit(run(os.environ["SLUICE_LAUNCH"]))
"""


def player() -> tuple[bytes, str]:
    """An agent that plays the part that its launch document names."""
    buffer = io.BytesIO()
    source = _PARTS.read_text() + _MAIN
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("__main__.py", source)
    return buffer.getvalue(), f"player-{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def job(cluster: str, job_id: str, play: str, **fields: Any) -> Job:
    """A job that plays a part. Its owner ends it in two seconds at most."""
    kind = JobKind.SCHEDULER if job_id == "scheduler" else JobKind.WORKER
    launch = cast("SchedulerLaunch | WorkerLaunch", {"role": str(kind), "cluster": cluster, "play": play})
    pods = {"stop_grace_s": 2, **fields.pop("pods", {})}
    values: dict[str, Any] = {"owner": "ada", "environment": "", "size": SMALL, "image": PLAYER_IMAGE, **fields}
    overlay = {kind.value: pods}
    return Job(id=f"{cluster}-{job_id}", kind=kind, cluster=cluster, launch=launch, overlay=overlay, **values)


class KubernetesHarness(Harness):
    """A backend with just the rights that it says it needs, over one namespace."""

    patience_s = 90.0

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        directory: Path,
        access: Access | None = None,
        location: Location | None = None,
    ) -> None:
        self.kube = kube
        self.namespace = namespace
        self.directory = directory
        self.access = access or kube.account(namespace, directory / "account")
        self.store = Store(location or directory / "sluice.db")
        self.store.open()
        self._backend = self._new()

    async def close(self) -> None:
        await self._backend.close()
        await self.store.close()

    def _new(self) -> KubernetesBackend:
        return KubernetesBackend(
            KubernetesSettings(), self.store.kept_logs(SystemClock()), access=self.access, agent=player()
        )

    @property
    def backend(self) -> KubernetesBackend:
        return self._backend

    async def reopen(self) -> Backend:
        await self._backend.close()
        self._backend = self._new()
        await self._backend.start()
        return self._backend

    def scheduler_job(self, cluster: str) -> Job:
        return job(cluster, "scheduler", "stay")

    def worker_job(self, cluster: str, number: int) -> Job:
        return job(cluster, f"worker-{number}", "family" if number == 1 else "stay")

    def dying_job(self, cluster: str) -> Job:
        return job(cluster, "worker-9", "die")

    def refused_job(self, cluster: str) -> Job:
        return job(cluster, "worker-8", "stay", pods={"pod": {"dnsPolicy": "Nonsense"}})

    async def leftovers(self) -> Sequence[str]:
        return [pod["metadata"]["name"] for pod in self.kube.items(self.namespace, "pods")]
