"""Finding a backend: the built-in ones by name, others by entry point or import path."""

from __future__ import annotations

from typing import Any, cast

from .. import plugins
from ..directories import Directories
from ..settings_schema import Backend as BackendSettings
from .protocol import Backend, KeepsLogs

GROUP = "dask_sluice.backends"
_BUILT_IN = {
    "local": "dask_sluice.server.backends.local:LocalBackend",
    "kubernetes": "dask_sluice.server.backends.kubernetes.backend:KubernetesBackend",
    "fake": "dask_sluice.server.backends.fake:FakeBackend",
}


def find(kind: str) -> Any:
    """The class of this kind.

    raises  CannotStart with the nearest name there is
    """
    return plugins.find("backend.kind", _BUILT_IN.get(kind, kind), GROUP)


def make_backend(settings: BackendSettings, places: Directories, logs: KeepsLogs | None = None) -> Backend:
    """The backend that the settings name, not started.

    logs    where it keeps what processes wrote that are gone; None: it will not be started
    raises  CannotStart with the nearest name or setting there is
    """
    kind = find(settings.kind)
    if settings.kind == "local":
        from ..staging import stage

        staged = stage(places.data / "agent")
        made = kind(settings.local, data_dir=places.data, runtime_dir=places.runtime, stage=staged)
    elif settings.kind == "kubernetes":
        made = kind(settings.kubernetes, logs)
    elif settings.kind == "fake":
        made = kind(preset=settings.fake.preset)
    else:
        made = plugins.make("backend", kind, settings.settings)
    return cast(Backend, made)
