"""Who has had how much: the order in which those who wait are served.

What somebody has used counts less with time: a moving average of what they use, which forgets half of it
in one half-life. Pure arithmetic; the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings_limits import Shares


@dataclass
class _Account:
    """What one user or group uses now, and has used: both in slots (`Amounts.slots`)."""

    now: float = 0.0
    past: float = 0.0
    at: float = 0.0

    def upto(self, time: float, half_life_s: float) -> float:
        """The moving average at that time."""
        kept: float = 0.5 ** (max(0.0, time - self.at) / half_life_s)
        return self.past * kept + self.now * (1 - kept)


class Standing:
    """Everybody's share; the lower, the sooner served."""

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares()
        self._users: dict[str, _Account] = {}
        self._groups: dict[str, _Account] = {}

    def used(self, user: str, group: str, slots: float, time: float) -> None:
        """From that time on the user uses so many slots more (or less)."""
        for accounts, name in ((self._users, user), (self._groups, group)):
            account = accounts.setdefault(name, _Account(at=time))
            account.past, account.at = account.upto(time, self._shares.half_life_s), time
            account.now = max(0.0, account.now + slots)

    def remember(self, user: str, group: str, slots: float, since: float, until: float, time: float) -> None:
        """Count what was used in an interval that is over: so that a restart forgets nobody's share."""
        half_life = self._shares.half_life_s
        weight = 0.5 ** (max(0.0, time - until) / half_life) - 0.5 ** (max(0.0, time - since) / half_life)
        for accounts, name in ((self._users, user), (self._groups, group)):
            account = accounts.setdefault(name, _Account(at=time))
            account.past += slots * weight

    def of(self, user: str, group: str, time: float) -> tuple[float, float]:
        """Sorts by group, then by user within it: what is used now and was used lately, by weight."""
        return (
            self._of(self._groups.get(group), self._shares.groups.get(group, 1.0), time),
            self._of(self._users.get(user), self._shares.users.get(user, 1.0), time),
        )

    def _of(self, account: _Account | None, weight: float, time: float) -> float:
        if account is None:
            return 0.0
        return (account.now + account.upto(time, self._shares.half_life_s)) / weight
