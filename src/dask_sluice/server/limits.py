"""What the administrator's limits say about one user, one group, the site: pure look-ups and sums.

A scope is whom a limit is for; its ceiling is what all clusters of that scope may have together. How what is
left gets shared out is decided in `admission`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ..wire.errors import LimitExceeded
from .amounts import DIMENSIONS, Amounts, scheduler_amounts, worker_amounts
from .backends.protocol import Size
from .settings_limits import Ceiling, Limits


class Scope(NamedTuple):
    """Whom a limit is for."""

    kind: str
    """user, group or site."""
    name: str = ""

    @property
    def shown(self) -> str:
        return {"user": self.name, "group": f"group {self.name}"}.get(self.kind, "all users together")


SITE = Scope("site")


@dataclass(frozen=True)
class Bound:
    """One limit: a dimension, its value in units of `Amounts`, and the key of the setting."""

    dimension: int
    most: int
    key: str

    @property
    def shown(self) -> str:
        """`12 cores (limits.user.cores)`."""
        return f"{DIMENSIONS[self.dimension].shown(self.most)} ({self.key})"


@lru_cache(10_000)
def scopes(owner: str, groups: tuple[str, ...]) -> tuple[Scope, ...]:
    """Every scope that a cluster counts in, the narrowest first."""
    return (Scope("user", owner), *(Scope("group", group) for group in groups), SITE)


class LimitBook:
    """The administrator's limits."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.bounds = lru_cache(10_000)(self._bounds)

    def _bounds(self, scope: Scope) -> tuple[Bound, ...]:
        """The limits on this scope; empty where there are none."""
        general: Ceiling = getattr(self.limits, scope.kind)
        special = {"user": self.limits.users, "group": self.limits.groups}.get(scope.kind, {}).get(scope.name)
        found = []
        for index, dimension in enumerate(DIMENSIONS):
            value, key = getattr(general, dimension.name), f"limits.{scope.kind}.{dimension.name}"
            own = getattr(special, dimension.name) if special else None
            if own is not None:
                value, key = own, f"limits.{scope.kind}s.{scope.name}.{dimension.name}"
            if value is not None:
                found.append(Bound(index, round(value * dimension.scale), key))
        return tuple(found)

    def told(self, owner: str, groups: Sequence[str], fallback_workers: int) -> Iterator[str]:
        """Every limit that this user is under, a sentence for each scope: `one cluster: 100 workers (limits....)`."""
        yield _told("one cluster", self.of_one_cluster(fallback_workers))
        for scope in scopes(owner, tuple(groups)):
            if bounds := self.bounds(scope):
                yield _told(f"all clusters of {scope.shown}" if scope != SITE else scope.shown, bounds)
        if self.limits.starts_per_minute is not None:
            yield f"starts of {owner}: {self.limits.starts_per_minute} a minute (limits.starts_per_minute)"

    def clusters_of(self, owner: str) -> Bound | None:
        """How many clusters this user may have at a time; None: any number."""
        return next((bound for bound in self.bounds(Scope("user", owner)) if bound.dimension == 0), None)

    def of_one_cluster(self, fallback_workers: int) -> tuple[Bound, ...]:
        """The limits on each single cluster. There is always one on its workers."""
        ceiling, found = self.limits.cluster, []
        for index, dimension in enumerate(DIMENSIONS[1:], start=1):
            value, key = getattr(ceiling, dimension.name), f"limits.cluster.{dimension.name}"
            if dimension.name == "workers" and value is None:
                value, key = fallback_workers, f"{key}, by the size of this machine"
            if value is not None:
                found.append(Bound(index, round(value * dimension.scale), key))
        return tuple(found)

    def most_workers(
        self, owner: str, groups: Sequence[str], scheduler: Size, worker: Size, fallback_workers: int
    ) -> tuple[int, str]:
        """Workers that a cluster of this shape could ever have, and the limit that says so.

        raises  LimitExceeded where not even one fits
        """
        bounds = [*self.of_one_cluster(fallback_workers)]
        for scope in scopes(owner, tuple(groups)):
            bounds += self.bounds(scope)
        base, each = scheduler_amounts(scheduler), worker_amounts(worker)
        for bound in bounds:
            if bound.most == 0 and bound.dimension == 0:
                raise too_many_clusters(owner, 0, bound)
            if base[bound.dimension] > bound.most:
                raise _never_fits("a scheduler", base, bound)
        counts = [
            ((bound.most - base[bound.dimension]) // each[bound.dimension], bound)
            for bound in bounds
            if each[bound.dimension]
        ]
        most, bound = min(counts, key=lambda found: found[0])
        if most < 1:
            raise _never_fits("a scheduler and one worker of this size", base.plus(each), bound)
        return most, bound.shown


def _told(whom: str, bounds: Sequence[Bound]) -> str:
    return f"{whom}: {', '.join(bound.shown for bound in bounds)}"


def _never_fits(what: str, needs: Amounts, bound: Bound) -> LimitExceeded:
    dimension = DIMENSIONS[bound.dimension]
    return LimitExceeded(
        f"{what} would need {dimension.shown(needs[bound.dimension])}, and the limit is {bound.shown}",
        hint="Ask for smaller workers, or ask the administrator who sets the limit.",
        details={"limit": bound.key, "value": bound.most / dimension.scale, "unit": dimension.unit},
    )


def too_many_clusters(owner: str, used: int, bound: Bound) -> LimitExceeded:
    """The refusal of one more cluster."""
    details = {"limit": bound.key, "value": bound.most, "use": used, "unit": "clusters"}
    if bound.most == 0:
        return LimitExceeded(
            f"{owner} may have no clusters here ({bound.key} is 0)",
            hint="Ask the administrator who sets the limit.",
            details=details,
        )
    return LimitExceeded(
        f"{owner} has {used} clusters, and the limit is {bound.shown}; it counts those that are starting or stopping",
        hint="Stop one that you no longer need (gateway.list_clusters() shows them), or connect to it.",
        details=details,
    )
