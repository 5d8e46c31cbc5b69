"""`make demo-kubernetes`: a real JupyterHub on a real Kubernetes, and our chart beside it, as docs/jupyterhub.md says.

Then two people log in at the hub, start a notebook and take the seed notebook's steps there, one with our client, one
with nothing but dask-gateway's. The cluster is that of KUBECONFIG, else one that shared/kube starts. All stays until
Ctrl-C; with `--end` (CI=1) it ends. What installs it is what the tests use.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.environments import EnvironmentFailed
from tests.chart.hub.hub import PASSWORD, STEPS, HubRelease, beside
from tests.chart.hub.images import images_there
from tests.chart.release import image_there
from tests.kubernetes.kube import Kube, NotThere, kubernetes_cluster

PEOPLE = {"ada": ("ours", "dask_sluice"), "grace": ("stock", "dask_gateway")}
COLUMN = 80


@contextmanager
def timed(what: str) -> Iterator[None]:
    """One line, with its time."""
    print(f"{what:<{COLUMN}}", end="", flush=True)
    began = time.perf_counter()
    yield
    print(f"{time.perf_counter() - began:6.1f} s", flush=True)


def compute(hub: HubRelease) -> None:
    """All steps in both notebooks."""
    for user, (image, client) in PEOPLE.items():
        print()
        what = f"{user} logs in at the hub and starts a notebook that has only {client}"
        with timed(what), hub.log_in(user) as person:
            notebook = person.notebook(image)
        notebook.run(f"{STEPS}\nmain({client!r})", tell=lambda text: print(text, end="", flush=True))


def stay(kube: Kube, hub: HubRelease) -> None:
    """Until Ctrl-C."""
    print(f"\nThe hub, for ada, grace and the administrator root: {hub.address}/   password: {PASSWORD}")
    print(f"Our page, by way of it:                            {hub.gateway}/")
    if kube.directory is None:
        print(f"From elsewhere: kubectl -n {hub.namespace} port-forward service/proxy-public 8080:80")
    else:
        print(f"From this machine, in the cluster's network: shared/kube/kube-exec kubectl -n {hub.namespace} get pods")
    print("Ctrl-C ends it.", flush=True)
    while True:
        time.sleep(3600)


def main(end: bool) -> None:
    """Everything, then nothing of it is left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with kubernetes_cluster() as kube, tempfile.TemporaryDirectory(prefix="sluice-demo-") as directory:
            with timed("images of server, hub and two notebooks; minutes where they are not there"):
                ours, images = image_there(kube), images_there(kube)
            line = "JupyterHub and dask-sluice by helm, in a namespace that enforces `restricted`"
            with ExitStack() as both:
                with timed(line):
                    hub = both.enter_context(beside(kube, ours, images, Path(directory)))
                compute(hub)
                if not end:
                    stay(kube, hub)
    except KeyboardInterrupt:
        print()
    except (NotThere, EnvironmentFailed) as error:
        sys.exit(f"demo: {error}")
    print("\nthe demo is over, its namespace is deleted; images and the cluster stay for the next run")


if __name__ == "__main__":
    main(end="--end" in sys.argv[1:])
