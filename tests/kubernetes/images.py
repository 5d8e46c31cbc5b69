"""Images of users' environments, old and new: a base, and an environment of `scripts/environments.py` with its Python.

They hold dask and distributed, some dask-gateway, and nothing of ours.
"""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

from scripts.environments import VENVS, environment

from .harness import PLAYER_IMAGE
from .kube import Kube, NotThere, kit

_BUILD = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


def image_of(kube: Kube, name: str) -> str:
    """The image that holds the environment of this name, built and given to the cluster where it is not there.

    raises  NotThere, EnvironmentFailed
    """
    place = kit()
    if kube.directory is None or place is None:
        raise NotThere("images can be given to the kit's Kubernetes only")
    python = interpreter_of(kube, name)
    home = python.resolve().parent.parent
    recipe = (VENVS / name / "recipe.json").read_text()
    tag = f"registry.test/environment:{name}-{zlib.crc32((recipe + str(home)).encode()):x}"
    if tag not in ctr(kube, "images", "ls", "-q"):
        _build(tag, VENVS / name, home, place)
    return tag


def interpreter_of(kube: Kube, name: str) -> Path:
    """The environment itself: for clients of the same versions."""
    with kube.outside():
        return environment(name)


def _build(tag: str, venv: Path, home: Path, place: Path) -> None:
    archive = Path("/var/tmp") / f"{tag.rpartition(':')[2]}.tar"
    container = _run("buildah", "from", PLAYER_IMAGE).strip()
    try:
        _run("buildah", "copy", "-q", container, str(home), str(home))
        _run("buildah", "run", container, "--", "rm", "-rf", "/opt/venv")
        _run("buildah", "copy", "-q", container, str(venv), "/opt/venv")
        # Interpreters live in their maker's home, which is closed to others.
        _run("buildah", "run", container, "--", "chmod", "-R", "a+rX", "/root", "/opt/venv")
        _run("buildah", "commit", "-q", container, tag)
        _run("buildah", "push", "-q", tag, f"docker-archive:{archive}:{tag}")
        _run(str(place / "kube-load"), str(archive))
    finally:
        _run("buildah", "rm", container)
        archive.unlink(missing_ok=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **_BUILD}, timeout=600)
    if done.returncode != 0:
        raise NotThere(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
    return done.stdout


def ctr(kube: Kube, *arguments: str) -> str:
    """What the kit's containerd says."""
    assert kube.directory is not None
    return _run("ctr", "-a", str(kube.directory / "run" / "containerd.sock"), "-n", "k8s.io", *arguments)
