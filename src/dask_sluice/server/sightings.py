"""What was last seen of the outside, in memory. All of it can be looked up again, so none of it is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .backends.protocol import JobState, Seen
from .model import AgentHello, AgentReport, Observation, WorkerLoad

LEFT_KEPT = 100
"""Workers whose last load is remembered after they have left: how much memory one had used that ran out of it."""


@dataclass
class _Sight:
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    hello: AgentHello | None = None
    report: AgentReport | None = None
    unlinked_since: float | None = None
    log_tails: Mapping[str, str] = field(default_factory=dict)


class Sightings:
    """The latest look at every cluster: its jobs by the backend, its scheduler by the agent."""

    def __init__(self) -> None:
        self.awake_since: float | None = None
        self._sights: defaultdict[str, _Sight] = defaultdict(_Sight)

    def observation(self, name: str, now: float, submitting: Iterable[str]) -> Observation:
        """All of it, for one step of reconcile."""
        sight = self._sights[name]
        return Observation(
            time=now,
            jobs=sight.jobs,
            submitting=frozenset(submitting),
            hello=sight.hello,
            report=sight.report,
            unlinked_since=sight.unlinked_since,
            log_tails=sight.log_tails,
            awake_since=self.awake_since,
        )

    def looked(self, name: str, looks: Iterable[Seen]) -> bool:
        """Note what the backend sees of a cluster's jobs; whether that is news."""
        jobs: dict[str, Seen] = {}
        for look in looks:
            jobs[look.job_id] = _worse(jobs[look.job_id], look) if look.job_id in jobs else look
        sight = self._sights[name]
        news = jobs != sight.jobs
        sight.jobs = jobs
        sight.log_tails = {job_id: tail for job_id, tail in sight.log_tails.items() if job_id in jobs}
        return news

    def read(self, name: str, job_id: str, tail: str) -> None:
        """Note the end of what a job wrote."""
        if sight := self._sights.get(name):
            sight.log_tails = {**sight.log_tails, job_id: tail}

    def linked(self, name: str, hello: AgentHello) -> None:
        """An agent said hello; what an earlier link reported no longer counts."""
        sight = self._sights[name]
        sight.hello, sight.report, sight.unlinked_since = hello, None, None

    def reported(self, name: str, report: AgentReport) -> bool:
        """Note what an agent reports; whether anything follows from it. How busy its workers are is only looked up."""
        sight = self._sights[name]
        before = sight.report
        sight.report = replace(report, left=_left(before, report)) if before is not None else report
        return before is None or _decisive(before) != _decisive(report)

    def unlinked(self, name: str, now: float) -> None:
        """There is no link to this cluster's agent."""
        sight = self._sights[name]
        sight.hello, sight.report, sight.unlinked_since = None, None, now

    def forget(self, name: str) -> None:
        self._sights.pop(name, None)


def _decisive(report: AgentReport) -> tuple[object, ...]:
    return report.workers.keys(), report.retired, report.clients, report.active, report.idle_since


def _left(before: AgentReport, report: AgentReport) -> Mapping[str, WorkerLoad]:
    known = {**before.left, **before.workers, **report.left}
    left = [(name, load) for name, load in known.items() if name not in report.workers]
    return dict(left[-LEFT_KEPT:])


_BY_STATE = (JobState.RUNNING, JobState.STARTING, JobState.PENDING, JobState.ENDED)


def _worse(one: Seen, other: Seen) -> Seen:
    """A job of several things is as well as its worst one."""
    return max(one, other, key=lambda look: _BY_STATE.index(look.state))
