"""How each backend's overlay is read: the keys `backend:` of policy, which only that backend understands.

Pure, and without the backend's own libraries: policy merges overlays, and a file of settings is checked, before any
backend is made. A backend given by import path has the plain rules, and `ChecksOverlays` at start-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..merging import Path, no_keys
from ..settings_schema import Backend as BackendSettings
from .kubernetes import overlay as kubernetes
from .kubernetes.settings import KubernetesSettings

Overlay = Mapping[str, Any]
Problem = tuple[tuple[str | int, ...], str]
"""Where in the overlay or the settings, and what is wrong there."""


class OverlayRules:
    """What policy needs to know of a backend's overlay: here, of one that has no rules."""

    section = "backend"
    """Where the backend's own settings stand."""
    site: Overlay = MappingProxyType({})
    """What they say of overlays, with templates: the lowest layer."""
    image = ""
    """Image of clusters for which policy names none."""
    runs_images = False

    def spread(self, overlay: Overlay) -> Iterable[Overlay]:
        """One layer as several that are plain, lower ones first."""
        return (overlay,)

    def list_key(self, path: Path) -> str:
        """See `merging.ListKey`."""
        return no_keys(path)

    def problems(self, overlay: Overlay, *, filled: bool) -> Iterable[Problem]:
        """What is wrong with an overlay. `filled`: its templates have been filled in."""
        return ()

    def problems_of_settings(self) -> Iterable[Problem]:
        """What is wrong with the section of the settings that the backend has, beyond what their types tell."""
        return ()


class KubernetesRules(OverlayRules):
    """Pods: see `kubernetes/overlay.py`."""

    section = "backend.kubernetes"
    runs_images = True

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self.site = settings.overlay()
        self.image = settings.image

    def spread(self, overlay: Overlay) -> Iterable[Overlay]:
        return kubernetes.spread(overlay)

    def list_key(self, path: Path) -> str:
        return kubernetes.list_key(path)

    def problems(self, overlay: Overlay, *, filled: bool) -> Iterable[Problem]:
        return kubernetes.problems(overlay, self._settings, filled=filled)

    def problems_of_settings(self) -> Iterable[Problem]:
        return kubernetes.problems_of_settings(self._settings)


def overlay_rules(settings: BackendSettings) -> OverlayRules:
    """The rules of the backend that the settings name."""
    return KubernetesRules(settings.kubernetes) if settings.kind == "kubernetes" else OverlayRules()
