"""How each backend's overlay is read: the keys `backend:` of policy, which only that backend understands.

Pure, and without the backend's own libraries: policy merges overlays, and a file of settings is checked, before any
backend is made. A backend given by import path has the plain rules, and `ChecksOverlays` at start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..merging import ListKey, no_keys
from ..settings_schema import Backend as BackendSettings
from .kubernetes import overlay as kubernetes

Overlay = Mapping[str, Any]
Problem = tuple[tuple[str | int, ...], str]
"""Where in the overlay, and what is wrong there."""


def _as_it_is(overlay: Overlay) -> Iterable[Overlay]:
    return (overlay,)


def _nothing(overlay: Overlay) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True)
class OverlayRules:
    """What policy needs to know of a backend's overlay."""

    site: Overlay = field(default_factory=dict)
    """What the backend's own settings say: the lowest layer."""
    spread: Callable[[Overlay], Iterable[Overlay]] = _as_it_is
    """One layer as several that are plain, lower ones first."""
    list_key: ListKey = no_keys
    problems: Callable[[Overlay], Iterable[Problem]] = _nothing


def overlay_rules(settings: BackendSettings) -> OverlayRules:
    """The rules of the backend that the settings name."""
    if settings.kind == "kubernetes":
        return OverlayRules(settings.kubernetes.overlay(), kubernetes.spread, kubernetes.list_key, kubernetes.problems)
    return OverlayRules()
