"""A cluster with another release of Dask than this process: said with what to do about it, before anything goes wrong.

Dask's own warning lists packages when a client connects; it cannot know where the cluster's come from.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping

import distributed

from ..wire.api import ClusterView

WARNED_OF = "Mismatched versions found"
"""As Dask begins its own, so that whoever silences that one is spared ours."""


def here() -> dict[str, str]:
    """Versions of what this process runs."""
    return {"python": platform.python_version(), "distributed": distributed.__version__}


def mismatch(view: ClusterView, ours: Mapping[str, str]) -> str:
    """What differs by more than a bug fix, and what to do; empty: nothing, or nothing is known."""
    different = list(_different(view.versions, ours))
    if not different:
        return ""
    if view.image:
        what, choose = f"image {view.image}", "Choose an image with the versions that are here"
    else:
        what = f"environment {view.environment}" if view.environment else "default environment"
        choose = "Choose an environment with the versions that are here"
    return (
        f"{WARNED_OF}: cluster {view.name} ({what}) has {'; '.join(different)}. Tasks and results may not be "
        f"understood on the other side. {choose}, or have the same here as there."
    )


def _different(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[str]:
    for name, version in ours.items():
        there = theirs.get(name, "")
        if there and _release(there) != _release(version):
            yield f"{name} {there}, here is {version}"


def _release(version: str) -> list[str]:
    """Year and month of a release of Dask; first and second number of one of Python."""
    return version.split(".")[:2]
