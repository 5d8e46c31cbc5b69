"""What must hold once everything is at rest, seen from outside: the world, the database, the proxy's table."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dask_sluice.server.model import ClusterRecord, Event, WorkerRecord
from dask_sluice.server.store import Secrets
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import CLUSTER_CHANGES, WORKER_CHANGES, ClusterState, WorkerState

from .mortal import MAX_WORKERS, SITE_WORKERS, USER_WORKERS, ChaosWorld
from .users import Promise, User, Wish


@dataclass(frozen=True)
class Seen:
    """One cluster at rest."""

    record: ClusterRecord
    events: tuple[Event, ...]
    workers: tuple[WorkerRecord, ...]
    secrets: Secrets


@dataclass(frozen=True)
class Trouble:
    """Something that may end a cluster, and when it lasted; `cluster` empty: any."""

    since: float
    until: float
    codes: frozenset[ReasonCode]
    cluster: str = ""

    def excuses(self, record: ClusterRecord) -> bool:
        mine = self.cluster in ("", record.name)
        overlaps = self.since <= (record.ended_at or self.until) and record.created_at <= self.until
        return mine and overlaps and record.reason.code in self.codes


def is_at_rest(record: ClusterRecord) -> bool:
    """Whether nothing is left to do for this cluster."""
    if record.state.is_final:
        return True
    living = [worker for worker in record.workers if not worker.state.is_final]
    enough = (
        len(living) == record.wanted.workers
        or record.reason.code is ReasonCode.WORKERS_KEEP_FAILING
        or (record.reason.code is ReasonCode.WORKERS_QUEUED and len(living) == record.grant.workers)
    )
    return (
        record.state is ClusterState.RUNNING
        and record.scheduler.linked_at is not None
        and enough
        and all(worker.state is WorkerState.RUNNING for worker in living)
        and not any(worker.job.is_out_there for worker in record.workers if worker.state.is_final)
    )


def story(seen: Seen) -> str:
    """A cluster, for people who look for what went wrong."""
    record = seen.record
    lines = [f"{record.name}: {record.state}, {record.reason.code}, wanted {record.wanted}"]
    lines += [
        f"  {e.time:.3f} {e.subject} {e.reason.details.get('state', '')}: {e.reason.sentence}" for e in seen.events
    ]
    lines += [f"  {job}" for job in record.jobs if job.is_out_there]
    return "\n".join(lines)


def check_ownership(world: ChaosWorld, seen: Iterable[Seen]) -> None:
    """The world holds what the database says is out there, and nothing else."""
    ours = {job.job_id for each in seen for job in each.record.jobs if job.is_out_there}
    living = world.living()
    assert living <= ours, f"leaked: {sorted(living - ours)}"
    assert ours <= living, f"on the books only: {sorted(ours - living)}"
    ended = {key for each in seen if each.record.state.is_final for key in (job.job_id for job in each.record.jobs)}
    assert not ended & living
    twice = [job for job, count in world.births.items() if count > 1]
    assert not twice, f"started twice: {twice}"


def check_ledger(database: Path, seen: Iterable[Seen]) -> None:
    """What runs is being charged, and nothing else is."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT job_id, started_at, ended_at FROM intervals").fetchall()
    open_ = {job for job, _, ended_at in rows if ended_at is None}
    ours = {job.job_id for each in seen for job in each.record.jobs if job.is_out_there}
    assert open_ == ours, f"charged and not there: {open_ - ours}; there and not charged: {ours - open_}"
    assert not [job for job, started_at, ended_at in rows if ended_at is not None and ended_at < started_at]


def check_limits(records: Iterable[ClusterRecord]) -> None:
    """Nobody has more workers than allowed: neither a cluster, nor a user, nor all together."""
    of_user: Counter[str] = Counter()
    for record in records:
        living = sum(not worker.state.is_final for worker in record.workers)
        assert living <= MAX_WORKERS, f"{record.name} has {living} workers, and {MAX_WORKERS} are allowed"
        of_user[record.spec.owner] += living
    assert not [user for user, count in of_user.items() if count > USER_WORKERS], of_user
    assert of_user.total() <= SITE_WORKERS, of_user


def check_nobody_waits_for_nothing(records: Iterable[ClusterRecord]) -> None:
    """Who waits for room at rest does so because there is none."""
    of_user: Counter[str] = Counter()
    records = list(records)
    for record in records:
        of_user[record.spec.owner] += sum(not worker.state.is_final for worker in record.workers)
    for record in records:
        if record.reason.code is ReasonCode.WORKERS_QUEUED:
            full = of_user[record.spec.owner] >= USER_WORKERS or of_user.total() >= SITE_WORKERS
            assert full, f"{record.name} waits, and there is room: {of_user}; {record.grant} of {record.wanted}"


def wrong_routes(routes: Mapping[str, Mapping[str, object]], seen: Iterable[Seen]) -> list[str]:
    """What the proxy's table has else than the running clusters, where they are."""
    running = {
        each.record.name: (each.record.scheduler.host, each.record.scheduler.port)
        for each in seen
        if each.record.state is ClusterState.RUNNING
    }
    told = {name: (route["host"], route["scheduler_port"]) for name, route in routes.items()}
    differ = sorted(name for name in {*told, *running} if told.get(name) != running.get(name))
    return [f"route of {name}: {told.get(name)}, it runs at {running.get(name)}" for name in differ]


def check_story(seen: Seen) -> None:
    """Events are in order, along the tables, and the last one tells the end."""
    record, events = seen.record, seen.events
    assert [e.id for e in events] == sorted({e.id for e in events})
    assert all(one.time <= other.time for one, other in itertools.pairwise(events)), "events out of order"
    state = ""
    workers: dict[str, str] = {}
    for event in events:
        to = str(event.reason.details.get("state") or "")
        assert event.reason.sentence, event
        if not to:
            continue
        if event.subject == "cluster":
            assert not state or ClusterState(to) in CLUSTER_CHANGES[ClusterState(state)], f"{state} to {to}"
            state = to
        else:
            was = workers.get(event.subject, "pending")
            assert WorkerState(to) in WORKER_CHANGES[WorkerState(was)], f"{event.subject}: {was} to {to}"
            workers[event.subject] = to
    assert state == str(record.state), f"{record.name} is {record.state} and its events say {state}"
    for worker in seen.workers:
        assert workers.get(worker.name, "pending") == str(worker.state), (
            f"{worker.name} is {worker.state} in {story(seen)}"
        )
    if record.state.is_final:
        assert record.ended_at is not None
        assert events[-1].subject == "cluster"
        assert events[-1].reason.code is record.reason.code
    names = Counter(worker.name for worker in seen.workers)
    assert not [name for name, count in names.items() if count > 1]


def check_same(before: Seen, after: Seen, promise: Promise | None, lost: set[str]) -> None:
    """What ran and nothing happened to still runs, as it was."""
    was, now = before.record, after.record
    assert after.secrets == before.secrets, "its secrets changed"
    assert after.events[: len(before.events)] == before.events, "the past was rewritten"
    if was.state.is_final:
        assert now == was, "it had ended and was touched again"
        return
    if now.state.is_final:
        return  # `check_end` looks at why
    address = (was.scheduler.host, was.scheduler.port, was.scheduler.job.job_id)
    assert address == (now.scheduler.host, now.scheduler.port, now.scheduler.job.job_id)
    if promise is not None and not promise.disturbed:
        running = {w.job.job_id for w in was.workers if w.state is WorkerState.RUNNING}
        still = {w.job.job_id for w in now.workers if w.state is WorkerState.RUNNING}
        assert running - lost <= still, f"lost its workers {running - still}"


def check_end(seen: Seen, promise: Promise | None, troubles: list[Trouble]) -> None:
    """It ended because somebody wanted it to, or because of something that happened."""
    record = seen.record
    if not record.state.is_final:
        return
    asked = promise is None or promise.stop
    if asked and record.reason.code is ReasonCode.STOPPED_BY_USER:
        return
    assert any(trouble.excuses(record) for trouble in troubles), f"it ended without a cause: {story(seen)}"


def check_promises(user: User, seen: Mapping[str, Seen]) -> None:
    """What its owner was told holds."""
    mine = {name for name, each in seen.items() if each.record.spec.owner == user.caller.name}
    assert user.promises.keys() <= mine, f"accepted and lost: {user.promises.keys() - mine}"
    unknown = mine - user.promises.keys()
    assert len(unknown) <= user.given_up_creates, f"made twice: {unknown}"
    for promise in user.promises.values():
        record = seen[promise.name].record
        if promise.stop == "accepted":
            assert record.state.is_final, f"{record.name}: its stop was accepted, and it is {record.state}"
        elif not record.state.is_final:
            assert not promise.stop or record.wanted.stop is None
            assert any(_holds(wish, record) for wish in promise.wishes), (promise, record.wanted)


def _holds(wish: Wish, record: ClusterRecord) -> bool:
    wanted = record.wanted
    if isinstance(wish, int):
        return wanted.adaptive is None and wanted.workers == min(wish, MAX_WORKERS)
    if wish is None:
        return wanted.adaptive is None
    minimum, maximum = wish
    bounds = (min(minimum, MAX_WORKERS), MAX_WORKERS if maximum is None else min(maximum, MAX_WORKERS))
    held = wanted.adaptive is not None and (wanted.adaptive.minimum, wanted.adaptive.maximum) == bounds
    return held and bounds[0] <= wanted.workers <= bounds[1]
