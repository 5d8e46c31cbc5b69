"""Whether the settings that `migrate` prints are accepted by the server that will read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...wire.errors import SluiceError
from .draft import Draft

if TYPE_CHECKING:
    from ...server.settings import Settings

SAMPLE = "ada"
SAMPLE_IMAGE = "quay.io/sample/dask:2026.1"
"""Where no image is set: users choose one, or an administrator still has to (which the report says)."""


def not_accepted(draft: Draft) -> list[str]:
    """What the server's own check finds wrong, or why a user's cluster would be refused; nothing where all is well."""
    from ...server.model import Caller
    from ...server.policy import Policy
    from ...server.settings import SettingsError
    from ...server.settings_file import loads

    try:
        settings = loads(draft.text(), Path("sluice.yaml"))
    except SettingsError as error:
        return error.problems
    policy, caller = Policy.of(with_an_image(settings), None), Caller(SAMPLE)
    found = []
    for profile in settings.profiles or ("",):
        try:
            offered = policy.offer(caller)
            policy.settle(caller, "cluster", offered, offered.choose({"profile": profile} if profile else {}))
        except SluiceError as error:
            found.append(f"a cluster{f' of the profile {profile!r}' if profile else ''} would be refused: {error}")
    return found


def with_an_image(settings: Settings) -> Settings:
    """The settings with a sample image where they name none."""
    backend = settings.backend
    if backend.kubernetes.image:
        return settings
    kubernetes = backend.kubernetes.model_copy(update={"image": SAMPLE_IMAGE})
    return settings.model_copy(update={"backend": backend.model_copy(update={"kubernetes": kubernetes})})
