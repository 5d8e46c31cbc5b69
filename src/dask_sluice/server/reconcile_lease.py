"""The part of reconcile that warns of a cluster's end and brings it about: idle, alone or at the end of its life."""

from __future__ import annotations

from dataclasses import replace

from ..wire.reasons import ReasonCode
from .decision import Draft, plain
from .leases import End, ends

WARN_BEFORE_S = (900.0, 300.0)
WHY = {
    "idle": "no task runs or waits in it",
    "absent": "the notebook that made it is away",
    "age": "then it has had the longest life of a cluster here",
}


def see_clients(draft: Draft) -> None:
    """Note since when no client is connected."""
    report, lease = draft.seen.report, draft.record.lease
    if report is None or not draft.seen.linked:
        return
    if report.clients and lease.absent_since is not None:
        draft.set(lease=replace(lease, absent_since=None))
    elif not report.clients and lease.absent_since is None:
        draft.set(lease=replace(lease, absent_since=draft.now))


def end_if_lease_is_over(draft: Draft) -> None:
    """End a cluster whose time is over; warn before, once for each end and each time."""
    in_sight = sorted(ends(draft.record, draft.seen, draft.rules.lease_grace_s), key=lambda end: end.at)
    if in_sight and draft.passed(in_sight[0].at):
        draft.end(in_sight[0].reason, failed=False)
        return
    warned = frozenset(key for end in in_sight for key in _due(draft, end))
    lease = draft.record.lease
    if news := [end for end in in_sight if _due(draft, end) - lease.warned]:
        minutes = max(1, round((news[0].at - draft.now) / 60))
        reason = plain(ReasonCode.LEASE_ENDS, minutes=minutes, why=WHY[news[0].kind], at=news[0].at)
        draft.tell("cluster", "lease", reason)
        draft.set(lease=replace(lease, warned=warned, notice=reason))
    elif warned != lease.warned:
        draft.set(lease=replace(lease, warned=warned, notice=lease.notice if warned else None))


def _due(draft: Draft, end: End) -> frozenset[str]:
    """The warnings of this end whose time has come; looks again at the next one's."""
    leads = [lead for lead in WARN_BEFORE_S if lead < end.lasts_s]
    return frozenset(f"{end.kind} {lead:g}" for lead in leads if draft.passed(end.at - lead))
