"""Whether the settings that `migrate` prints are accepted by the server that will read them."""

from __future__ import annotations

from pathlib import Path

from ...wire.errors import SluiceError
from .draft import Draft

SAMPLE = "ada"


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
    policy, caller = Policy.of(settings, None), Caller(SAMPLE)
    found = []
    for profile in settings.profiles or ("",):
        try:
            offered = policy.offer(caller)
            policy.settle(caller, "cluster", offered, offered.choose({"profile": profile} if profile else {}))
        except SluiceError as error:
            found.append(f"a cluster{f' of the profile {profile!r}' if profile else ''} would be refused: {error}")
    return found
