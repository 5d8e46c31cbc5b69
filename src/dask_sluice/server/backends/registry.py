"""Finding a backend: the built-in ones by name, others by entry point or import path.

Only the backend that is used is imported: another one's libraries may not be there at all.
"""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any, cast

from ..directories import Directories
from ..settings_schema import Backend as BackendSettings
from ..startup import CannotStart
from .protocol import Backend

GROUP = "dask_sluice.backends"
_BUILT_IN = {
    "local": "dask_sluice.server.backends.local:LocalBackend",
    "kubernetes": "dask_sluice.server.backends.kubernetes.backend:KubernetesBackend",
    "fake": "dask_sluice.server.backends.fake:FakeBackend",
}


def make_backend(settings: BackendSettings, places: Directories) -> Backend:
    """The backend that the settings name, not started.

    raises  CannotStart with the nearest name there is
    """
    kind = _find(settings.kind)
    if settings.kind == "local":
        from ..staging import stage

        staged = stage(places.data / "agent")
        made = kind(settings.local, data_dir=places.data, runtime_dir=places.runtime, stage=staged)
    elif settings.kind == "kubernetes":
        made = kind(settings.kubernetes, data_dir=places.data)
    elif settings.kind == "fake":
        made = kind(preset=settings.fake.preset)
    else:
        made = kind(**settings.settings)
    return cast(Backend, made)


def _find(kind: str) -> Any:
    path = _BUILT_IN.get(kind, kind)
    if ":" not in path:
        known = {point.name: point.value for point in entry_points(group=GROUP)}
        if kind not in known:
            near = difflib.get_close_matches(kind, known, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise CannotStart(f"there is no backend {kind!r}.{meant} Known: {', '.join(sorted(known))}.")
        path = known[kind]
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CannotStart(f"backend.kind: cannot import {path!r}: {error}") from error
