"""What people want of a cluster, written into its record: pure, and within its limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..wire.api import LeaseChange
from ..wire.errors import RequestInvalid
from ..wire.reasons import Reason, ReasonCode
from ..wire.states import ClusterState
from . import leases
from .decision import Change, Draft, plain
from .facts import within
from .model import Adaptive, ClusterRecord, Event, Observation, Wanted


@dataclass(frozen=True)
class Granted(Change):
    """A change, and a sentence where a limit made it less than was asked for."""

    message: str = ""


def scaled(record: ClusterRecord, by: str, count: int, now: float) -> Granted:
    """So many workers from now on; ends adaptive scaling."""
    limit = record.spec.max_workers
    granted = min(count, limit)
    told = plain(ReasonCode.SCALED, by=by, count=granted)
    return _granted(record, replace(record.wanted, workers=granted, adaptive=None), told, now, (count, limit, granted))


def adaptive(record: ClusterRecord, by: str, minimum: int, maximum: int | None, now: float) -> Granted:
    """Adaptive scaling within these bounds; `maximum` None: up to the limit."""
    limit = record.spec.max_workers
    asked = limit if maximum is None else maximum
    bounds = Adaptive(min(minimum, limit), min(asked, limit))
    told = plain(ReasonCode.ADAPT_SET, by=by, minimum=bounds.minimum, maximum=bounds.maximum)
    wanted = replace(record.wanted, workers=within(record.wanted.workers, bounds, limit), adaptive=bounds)
    return _granted(record, wanted, told, now, (max(asked, minimum), limit, bounds.maximum))


def adaptive_off(record: ClusterRecord, by: str, now: float) -> Granted:
    """No adaptive scaling; as many workers stay wanted as are."""
    told = plain(ReasonCode.ADAPT_OFF, by=by, count=record.wanted.workers)
    count = record.wanted.workers
    return _granted(record, replace(record.wanted, adaptive=None), told, now, (count, count, count))


def stopped(record: ClusterRecord, reason: Reason, now: float) -> Change:
    """The end, for this reason; the first reason stands. Whoever looks next sees it stopping already."""
    if record.state.is_final or record.wanted.stop is not None:
        return Change(record)
    draft = Draft(record, Observation(now), now)
    draft.end(reason, failed=False)
    draft.change_cluster(ClusterState.STOPPING, reason)
    return draft.decision()


def leased(record: ClusterRecord, by: str, change: LeaseChange, now: float) -> Change:
    """Longer life, or a sign of it.

    raises  LimitExceeded
    """
    lease, events = record.lease, []
    if change.present:
        lease = replace(lease, present_at=now)
    if change.keep_alive_s is not None:
        lease = replace(lease, kept_until=leases.kept(record, change.keep_alive_s, now))
        events.append(plain(ReasonCode.KEPT_ALIVE, by=by, for_s=change.keep_alive_s))
    if change.extend_s is not None:
        lease = replace(lease, extended_s=leases.extended(record, change.extend_s))
        events.append(plain(ReasonCode.EXTENDED, by=by, for_s=change.extend_s))
    told = tuple(Event(now, record.name, "cluster", "lease", reason) for reason in events)
    return Change(replace(record, lease=lease), told)


def check_bounds(minimum: int | None, maximum: int | None) -> None:
    """Whether these can be bounds of adaptive scaling at all."""
    for field, value in (("minimum", minimum), ("maximum", maximum)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise RequestInvalid(f"{field} must be a non-negative integer, got {value!r}", details={"field": field})
    if minimum is not None and maximum is not None and minimum > maximum:
        raise RequestInvalid(
            f"minimum must not be above maximum, got {minimum} and {maximum}", details={"field": "minimum"}
        )


def _granted(record: ClusterRecord, wanted: Wanted, told: Reason, now: float, limit: tuple[int, int, int]) -> Granted:
    """The change, with an event for it and one more where the limit cut it. `limit`: asked, limit, granted."""
    asked, most, count = limit
    events = [Event(now, record.name, "cluster", "scaling", told)]
    message = ""
    if asked > count:
        alive = sum(not worker.state.is_final for worker in record.workers)
        clamped = plain(
            ReasonCode.LIMIT_CLAMPED,
            asked=asked,
            limit=most,
            limit_by=record.spec.max_workers_by,
            count=count,
            now=alive,
        )
        events.append(Event(now, record.name, "cluster", "scaling", clamped))
        message = clamped.sentence
    # Whoever scales wants another try, whatever failed before.
    reason = Reason(ReasonCode.RUNNING) if record.state is ClusterState.RUNNING else record.reason
    changed = replace(record, wanted=wanted, reason=reason, worker_failures=0, last_failure_at=None)
    return Granted(changed, tuple(events), message)
