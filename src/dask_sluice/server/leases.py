"""How long a cluster lives: terms agreed at its start, ends that follow from them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..wire.api import LeaseRequest
from ..wire.durations import span
from ..wire.errors import LimitExceeded, RequestInvalid
from ..wire.reasons import Reason, ReasonCode
from .decision import plain
from .model import ClusterRecord, LeaseTerms, Observation
from .settings_leases import Leases, Span


def terms(leases: Leases, wish: LeaseRequest) -> LeaseTerms:
    """What a cluster gets that asks for this.

    raises  LimitExceeded, naming the setting
    """
    return LeaseTerms(
        idle_s=_within(leases.idle, "idle", wish.idle_s),
        idle_without_clients=leases.idle.without_clients,
        absent_s=_within(leases.absent, "absent", wish.absent_s) if wish.presence else 0.0,
        # A client that said nothing is dask-gateway's: what its notebook leaves behind is hardly ever meant to stay.
        with_notebook=leases.notebook == "always" or (leases.notebook == "asked" and wish.presence is not False),
        age_s=_within(leases.age, "age", wish.age_s),
        keep_alive_max_s=leases.keep_alive_max_s,
        extend_max_s=leases.extend_max_s,
    )


def _within(bounds: Span, name: str, asked: float | None) -> float:
    if asked is None:
        return bounds.default
    key = f"leases.{name}"
    if asked == 0:
        if not bounds.never:
            raise LimitExceeded(f"{name} cannot be 0 (never) here: {key}.never forbids it", details={"limit": key})
        return 0.0
    if asked < bounds.minimum:
        raise _out_of_range(name, asked, f"at least {span(bounds.minimum)} ({key}.minimum)")
    if bounds.maximum is not None and asked > bounds.maximum:
        raise _out_of_range(name, asked, f"at most {span(bounds.maximum)} ({key}.maximum)")
    return asked


def _out_of_range(name: str, asked: float, allowed: str) -> LimitExceeded:
    return LimitExceeded(
        f"{name} must be {allowed}, got {span(asked)}",
        hint="An administrator sets the range.",
        details={"field": name},
    )


def kept(record: ClusterRecord, for_s: float, now: float) -> float:
    """Until when a cluster is kept that is asked to be kept for so long from now.

    raises  LimitExceeded
    """
    most = record.spec.lease.keep_alive_max_s
    _check_positive("keep_alive_s", for_s)
    if for_s > most:
        raise _out_of_range("keep_alive_s", for_s, f"at most {span(most)} (leases.keep_alive_max_s)")
    return max(record.lease.kept_until, now + for_s)


def extended(record: ClusterRecord, by_s: float) -> float:
    """By how much in all the cluster's life is then extended.

    raises  LimitExceeded
    """
    most, sofar = record.spec.lease.extend_max_s, record.lease.extended_s
    _check_positive("extend_s", by_s)
    if sofar + by_s > most:
        raise LimitExceeded(
            f"the end can be put off by {span(most)} in all (leases.extend_max_s), of which {span(sofar)} "
            f"are used; {span(by_s)} more were asked for",
            hint="An administrator sets the limit.",
            details={"limit": "leases.extend_max_s", "value": most, "use": sofar},
        )
    return sofar + by_s


def _check_positive(field: str, value: float) -> None:
    if not 0 < value < 10**9:
        raise RequestInvalid(f"{field} must be a number of seconds above 0, got {value!r}", details={"field": field})


def ends_with_notebook(record: ClusterRecord, now: float) -> bool:
    """Whether the cluster is to end now that the notebook server that made it has ended."""
    living = record.state.is_active and record.wanted.stop is None
    return living and record.spec.lease.with_notebook and record.lease.kept_until <= now


@dataclass(frozen=True)
class End:
    """A time at which a cluster is going to end, if nothing changes."""

    kind: str
    """idle, absent or age."""
    at: float
    lasts_s: float
    """The whole time of which it is the end."""
    reason: Reason


def ends(record: ClusterRecord, seen: Observation, grace_s: float) -> Iterator[End]:
    """Every end that is in sight. None while nobody can say whether the cluster is idle or alone, nor in the
    `grace_s` after the server woke up: clients need time to be back.
    """
    terms, lease, report = record.spec.lease, record.lease, seen.report
    if terms.age_s and record.started_at is not None:
        lasts_s = terms.age_s + lease.extended_s
        yield End("age", record.started_at + lasts_s, lasts_s, plain(ReasonCode.LEASE_OVER, limit_s=lasts_s))
    if report is None or not seen.linked:
        return
    floor = max(lease.kept_until, (seen.awake_since or 0.0) + grace_s)
    alone = not report.clients
    if terms.idle_s and report.idle_since is not None and (alone or not terms.idle_without_clients):
        at = max(report.idle_since + terms.idle_s, floor)
        yield End("idle", at, terms.idle_s, plain(ReasonCode.IDLE, limit_s=terms.idle_s))
    if terms.absent_s and alone and lease.absent_since is not None:
        since = max(lease.absent_since, lease.present_at, record.scheduler.linked_at or 0.0)
        at = max(since + terms.absent_s, floor)
        yield End("absent", at, terms.absent_s, plain(ReasonCode.CLIENT_GONE, limit_s=terms.absent_s))
