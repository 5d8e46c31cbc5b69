"""Who may start what, and when: limits on users, groups and the site, counted over all that runs or will.

One unit at a time (a scheduler, one worker) goes to whoever has had least and has room, so that everybody has a
first worker before anybody has a third, and a small request never waits behind a large one that does not fit.
What is given is a number in the cluster's record (`Grant`); nobody takes it back but the owner, by wanting less.

All in memory and without I/O: `turnstile` feeds it with records and writes what it gives. What it promised counts
from that moment, so that two decisions can never give the same room.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..wire.reasons import ReasonCode
from ..wire.states import ClusterState, WorkerState
from .amounts import DIMENSIONS, NOTHING, Amounts, scheduler_amounts, worker_amounts
from .limits import Bound, LimitBook, Scope, scopes
from .model import ClusterRecord, Grant
from .reconcile_workers import is_surplus
from .shares import Standing

_Turn = tuple[int, float, str]

BURST_S = 10.0
"""So many seconds' worth of starts may come at once."""


@dataclass(frozen=True)
class Demand:
    """What one cluster has and wants, as far as limits are concerned."""

    cluster: str
    owner: str
    groups: tuple[str, ...]
    scheduler: Amounts
    worker: Amounts
    wanted: int
    """Workers that its owner wants, within the cluster's own limit; 0 once it is to end."""
    grant: Grant
    occupied: int
    """Workers that have not ended, but for those that leave."""
    unsubmitted: int
    """Of what was granted, how much the backend has not got yet."""
    since: float
    """When it was made; later, since when it waits."""
    ending: bool = False
    leaving: int = 0
    """Workers that are no longer granted and have not ended: they count beside those granted since."""

    @property
    def waits(self) -> bool:
        return not self.ending and (not self.grant.scheduler or self.grant.workers < self.wanted)

    @property
    def unit(self) -> Amounts:
        """What it would get next."""
        return self.worker if self.grant.scheduler else self.scheduler

    @property
    def use(self) -> Amounts:
        """What it counts for."""
        workers = max(0 if self.ending else self.grant.workers, self.occupied) + self.leaving
        return (self.scheduler if self.grant.scheduler else NOTHING).plus(self.worker, workers)

    @property
    def group(self) -> str:
        """The group that is charged."""
        return self.groups[0] if self.groups else ""


@dataclass(frozen=True)
class Block:
    """What somebody waits for: a limit, or, without one, their next turn to start something."""

    scope: Scope
    bound: Bound | None = None
    used: int = 0
    until: float | None = None
    """When it will be over, if time alone ends it."""

    @property
    def stops_everybody(self) -> bool:
        """Whether nothing is left of what every scheduler and every worker needs: then nobody else need be asked."""
        if self.bound is None or self.scope.kind != "site" or self.used < self.bound.most:
            return False
        return DIMENSIONS[self.bound.dimension].name == "cores"


def demand_of(record: ClusterRecord) -> Demand:
    """The demand that this record states."""
    spec, wanted, grant = record.spec, record.wanted, record.grant
    ending = wanted.stop is not None or not record.state.is_active
    alive = [worker for worker in record.workers if not worker.state.is_final]
    leaving = sum(map(is_surplus, alive))
    submitted = sum(w.state is not WorkerState.PENDING or w.job.submitted_at is not None for w in alive)
    scheduler_waits = grant.scheduler and record.state is ClusterState.PENDING
    wants = min(wanted.workers, spec.max_workers) if record.state is ClusterState.RUNNING else 0
    blocked = record.budget is not None and record.budget.level.blocks
    if blocked or record.reason.code is ReasonCode.WORKERS_KEEP_FAILING:  # until somebody scales
        wants = min(wants, grant.workers)  # room would be of no use to it
    return Demand(
        cluster=record.name,
        owner=spec.owner,
        groups=spec.groups,
        scheduler=scheduler_amounts(spec.scheduler),
        worker=worker_amounts(spec.worker),
        wanted=wants,
        grant=grant,
        occupied=len(alive) - leaving,
        unsubmitted=0 if ending else max(0, grant.workers - submitted) + scheduler_waits,
        since=record.created_at,
        ending=ending,
        leaving=leaving,
    )


class Admission:
    """The sums, the queue, and the next in line."""

    def __init__(self, book: LimitBook) -> None:
        self.standing = Standing(book.limits.shares)
        self._book = book
        self._at_once = book.limits.submits_at_once
        self._starts = StartRate(book.limits.starts_per_minute)
        self._known: dict[str, Demand] = {}
        """As the records say."""
        self._promised: dict[str, Grant] = {}
        """What was given and is not in the records yet."""
        self._counted: dict[str, Demand] = {}
        """The two together: what is in the sums."""
        self._used: defaultdict[Scope, Amounts] = defaultdict(Amounts)
        self._unsubmitted: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[str, dict[str, Demand]] = {}
        """By owner, then by cluster."""
        self._blocks: dict[str, Block] = {}
        self._resting: dict[str, Block] = {}
        """Owners who could start nothing more in the last round, whatever it is."""
        self._full: Block | None = None
        """What ended the last round before everybody was asked."""
        self._decided_at = 0.0

    # -- what is

    def update(self, demand: Demand, now: float) -> None:
        """Take note of how things are with one cluster."""
        if before := self._known.get(demand.cluster):
            demand = replace(demand, since=before.since if before.waits else now)
        self._known[demand.cluster] = demand
        self._recount(demand.cluster, now)

    def forget(self, cluster: str, now: float) -> None:
        """The cluster has ended."""
        self._known.pop(cluster, None)
        self._promised.pop(cluster, None)
        self._recount(cluster, now)

    def settled(self, cluster: str, grant: Grant, now: float) -> None:
        """What was promised to this cluster is in its record, or never will be; more may be promised by now."""
        if self._promised.get(cluster) == grant:
            del self._promised[cluster]
        self._recount(cluster, now)

    def used(self, scope: Scope) -> Amounts:
        """What all clusters of this scope have, promises included."""
        return self._used[scope]

    @property
    def waiting(self) -> int:
        """How many clusters wait for something."""
        return sum(len(theirs) for theirs in self._waiting.values())

    def why(self, cluster: str) -> Block | None:
        """What this cluster waits for; None where it waits for nothing."""
        demand = self._counted.get(cluster)
        if demand is None or not demand.waits:
            return None
        if block := self._blocks.get(cluster):
            return block
        if block := self._resting.get(demand.owner):  # not asked about each of theirs
            return self._block(demand, self._decided_at) or block
        return self._full

    def demand(self, cluster: str) -> Demand | None:
        """What it has and wants, promises included."""
        return self._counted.get(cluster)

    def waiters(self) -> Iterator[Demand]:
        """Everyone who waits, in no order."""
        return (demand for theirs in self._waiting.values() for demand in theirs.values())

    def line(self, now: float) -> list[str]:
        """Everyone who waits, the next to be served first."""
        standing = self.standing
        places = sorted((*standing.of(each.owner, each.group, now), *_turn(each)) for each in self.waiters())
        return [name for *_, name in places]

    # -- deciding

    def decide(self, now: float) -> tuple[dict[str, Grant], float | None]:
        """Everything that can be given now, by cluster, and when time alone will make room for more."""
        self._blocks.clear()
        self._resting.clear()
        self._full, self._decided_at = None, now
        granted: dict[str, Grant] = {}
        line = _Line(self._waiting, self.standing, now)
        while self._full is None and (demand := line.pop()) is not None:
            if block := self._block(demand, now):
                self._blocks[demand.cluster] = block
                self._full = block if block.stops_everybody else None
                if block.bound is None:
                    self._resting[demand.owner] = block
                    line.pass_over()
            else:
                demand = self._promise(demand, now)
                granted[demand.cluster] = demand.grant
                if demand.waits:
                    line.push(demand)
        return granted, min((block.until for block in self._blocks.values() if block.until is not None), default=None)

    def _block(self, demand: Demand, now: float) -> Block | None:
        """What keeps this one from its next unit."""
        unit, owner = demand.unit, Scope("user", demand.owner)
        for scope in scopes(demand.owner, demand.groups):
            used = self._used[scope]
            for bound in self._book.bounds(scope):
                if unit[bound.dimension] and used[bound.dimension] + unit[bound.dimension] > bound.most:
                    return Block(scope, bound, used[bound.dimension])
        if self._unsubmitted[demand.owner] >= self._at_once:
            return Block(owner)
        return Block(owner, until=until) if (until := self._starts.next(demand.owner, now)) else None

    def _promise(self, demand: Demand, now: float) -> Demand:
        grant = demand.grant
        grant = replace(grant, workers=grant.workers + 1) if grant.scheduler else replace(grant, scheduler=True)
        self._promised[demand.cluster] = grant
        self._starts.started(demand.owner, now)
        self._recount(demand.cluster, now)
        return self._counted[demand.cluster]

    def _recount(self, cluster: str, now: float) -> None:
        """Put the cluster into every sum as it is now, in the place of what it was."""
        if before := self._counted.pop(cluster, None):
            self._count(before, -1, now)
            self._waiting.get(before.owner, {}).pop(cluster, None)
            if not self._waiting.get(before.owner, True):
                del self._waiting[before.owner]
        if (known := self._known.get(cluster)) is None:
            return
        after = self._counted[cluster] = _with_promise(known, self._promised.get(cluster))
        self._count(after, 1, now)
        if after.waits:
            self._waiting.setdefault(after.owner, {})[cluster] = after

    def _count(self, demand: Demand, sign: int, now: float) -> None:
        use = demand.use
        for scope in scopes(demand.owner, demand.groups):
            self._used[scope] = self._used[scope].plus(use, sign)
        self._unsubmitted[demand.owner] += sign * demand.unsubmitted
        self.standing.used(demand.owner, demand.group, sign * use.slots, now)


class _Line:
    """Those who wait, the next to be served on top: heaps of groups, of users in a group, of a user's clusters.

    In three levels because being served moves only one's own place on each: no entry is ever out of date.
    """

    def __init__(self, waiting: Mapping[str, Mapping[str, Demand]], standing: Standing, now: float) -> None:
        self._standing = standing
        self._now = now
        self._clusters: defaultdict[tuple[str, str], list[tuple[_Turn, Demand]]] = defaultdict(list)
        self._users: defaultdict[str, list[tuple[float, _Turn, str]]] = defaultdict(list)
        self._groups: list[tuple[float, str]] = []
        self._top: tuple[str, str] | None = None
        for owner, theirs in waiting.items():
            for demand in theirs.values():
                self._clusters[demand.group, owner].append((_turn(demand), demand))
        for (group, owner), queue in self._clusters.items():
            heapq.heapify(queue)
            self._users[group].append((self._share(owner, group)[1], queue[0][0], owner))
        for group, users in self._users.items():
            heapq.heapify(users)
            self._groups.append((self._share(users[0][2], group)[0], group))
        heapq.heapify(self._groups)

    def pop(self) -> Demand | None:
        """The next; who is popped is out of the line unless pushed back."""
        self._put_back()
        if not self._groups:
            return None
        _, group = heapq.heappop(self._groups)
        *_, owner = heapq.heappop(self._users[group])
        self._top = group, owner
        return heapq.heappop(self._clusters[group, owner])[1]

    def push(self, demand: Demand) -> None:
        """The one that was popped waits for more."""
        heapq.heappush(self._clusters[demand.group, demand.owner], (_turn(demand), demand))

    def pass_over(self) -> None:
        """Whose cluster was popped gets nothing this time."""
        if self._top is not None:
            self._clusters[self._top].clear()

    def _put_back(self) -> None:
        """The user and the group of the last one popped go to their new places."""
        if self._top is None:
            return
        (group, owner), self._top = self._top, None
        in_group, in_user = self._share(owner, group)
        if queue := self._clusters[group, owner]:
            heapq.heappush(self._users[group], (in_user, queue[0][0], owner))
        if self._users[group]:
            heapq.heappush(self._groups, (in_group, group))

    def _share(self, owner: str, group: str) -> tuple[float, float]:
        return self._standing.of(owner, group, self._now)


class StartRate:
    """How many starts a user has left: so many a minute, a few seconds' worth at once."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_s = (per_minute or 0) / 60
        self._left: dict[str, tuple[float, float]] = {}

    def next(self, owner: str, now: float) -> float | None:
        """When the owner may start the next; None: now."""
        left = self._left_at(owner, now)
        return None if not self._per_s or left >= 1 else now + (1 - left) / self._per_s

    def started(self, owner: str, now: float) -> None:
        if self._per_s:
            self._left[owner] = (self._left_at(owner, now) - 1, now)

    def _left_at(self, owner: str, now: float) -> float:
        most = max(1.0, self._per_s * BURST_S)
        left, at = self._left.get(owner, (most, now))
        return min(most, left + self._per_s * max(0.0, now - at))


def _turn(demand: Demand) -> _Turn:
    """Sorts an owner's clusters: first who has nothing, then who has fewest workers, then who waits longest."""
    return (demand.grant.workers + 1 if demand.grant.scheduler else 0, demand.since, demand.cluster)


def _with_promise(demand: Demand, promised: Grant | None) -> Demand:
    """The demand with what was promised to it already granted."""
    if promised is None or demand.ending:
        return demand
    grant = Grant(promised.scheduler or demand.grant.scheduler, max(promised.workers, demand.grant.workers))
    extra = grant.workers - demand.grant.workers + (grant.scheduler and not demand.grant.scheduler)
    return replace(demand, grant=grant, unsubmitted=demand.unsubmitted + extra)
