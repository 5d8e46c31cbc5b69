"""What people can ask of the server. Every call asks `policy` first, writes what is wanted, and returns.

Nothing here starts or ends anything: the loop does, once it is written. The HTTP routes call this class
and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..wire.api import Credentials, DrainView, LeaseChange, LeaseRequest, PlanView
from ..wire.errors import BackendUnavailable, ClusterNotRunning, LimitExceeded, RequestInvalid
from ..wire.options import Option
from ..wire.reasons import Reason, ReasonCode
from ..wire.states import ClusterState
from . import wishes
from .backends.protocol import Backend, ChecksEnvironments, ChecksOverlays, LogPart
from .budget_keeper import BudgetKeeper
from .certificates import Role, issue, new_authority
from .changes import Changes
from .clock import Clock
from .decision import Change, plain
from .drain import Drain
from .job_logs import JobLogs
from .ledger import Interval
from .limits import too_many_clusters
from .model import Caller, ClusterRecord, ClusterSpec, Event, JobRecord, SchedulerRecord, Wanted, WorkerRecord
from .policy import AS_SET, Action, Policy, Resolved, check, check_admin, cluster_name
from .policy.hooks import Hooks
from .policy.variables import left_out
from .store import Secrets, Store
from .usage import Query, query

T = TypeVar("T")
SHOWN = tuple(state for state in ClusterState if not state.is_final)


class Control:
    """Clusters, as their owners and administrators see and steer them."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        backend: Backend,
        changes: Changes,
        clock: Clock,
        drain: Drain | None = None,
        hooks: Hooks | None = None,
        *,
        budgets: BudgetKeeper | None = None,
    ) -> None:
        self._store = store
        self._hooks = hooks or Hooks(policy.rules, clock)
        self._policy = policy
        self._backend = backend
        self._changes = changes
        self._clock = clock
        self._logs = JobLogs(store, backend, changes, clock)
        self._drain = drain or Drain(store, clock)
        self._budgets = budgets
        self._closed = False

    def close(self) -> None:
        """Take no new clusters: the server is about to stop."""
        self._closed = True

    async def options(self, caller: Caller) -> Sequence[Option]:
        """What this caller may choose for a cluster."""
        return (await self._hooks.offer(self._policy, caller)).options

    async def plan(self, caller: Caller, options: Mapping[str, Any], lease: LeaseRequest = AS_SET) -> PlanView:
        """What a create with these options would make, and why; nothing is made.

        What stands in the way of a new cluster just now, whatever its options, is among the notes.
        raises  all that `create` raises for what is asked for
        """
        resolved = await self._resolve(caller, options, lease)
        obstacles = [f"just now it would be refused: {each}" async for each in self._obstacles(caller, resolved.spec)]
        return replace(resolved.plan, notes=(*resolved.plan.notes, *obstacles))

    async def _obstacles(self, caller: Caller, spec: ClusterSpec) -> AsyncIterator[str]:
        if (state := await self._drain.state()) is not None:
            yield state.reason.sentence
        try:
            if self._budgets is not None:
                self._budgets.admit(spec)
        except LimitExceeded as error:
            yield error.message
        most = self._policy.limits.clusters_of(caller.name)
        if most is not None and (used := len(await self._store.clusters(caller.name, SHOWN))) >= most.most:
            yield too_many_clusters(caller.name, used, most).message

    async def create(
        self,
        caller: Caller,
        options: Mapping[str, Any],
        idempotency_key: str | None,
        lease: LeaseRequest = AS_SET,
    ) -> tuple[ClusterRecord, bool]:
        """The record, and whether it is new (False: the key was used before for the same request)."""
        if self._closed:
            raise BackendUnavailable("the server is shutting down and takes no new clusters", retry_after_s=10)
        resolved = await self._resolve(caller, options, lease)
        spec = resolved.spec
        now = self._clock.now()
        reason = Reason(ReasonCode.CREATED)
        record = ClusterRecord(
            spec=spec,
            wanted=Wanted(),
            state=ClusterState.PENDING,
            reason=reason,
            version=1,
            created_at=now,
            scheduler=SchedulerRecord(JobRecord(f"{spec.name}-scheduler")),
        )
        told = plain(ReasonCode.CREATED, state=str(record.state))
        said = [told, *([left_out(spec.left_out)] if spec.left_out else [])]
        events = tuple(Event(now, spec.name, "cluster", "cluster", each) for each in said)
        authority = new_authority(spec.name, now)
        variables = resolved.secret_variables
        secret = Secrets(secrets.token_urlsafe(32), authority.certificate, authority.key, variables)
        idempotency = (idempotency_key, _digest({**options, "": vars(lease)})) if idempotency_key else None
        most = self._policy.limits.clusters_of(caller.name)

        def admit(note: Callable[[str], bytes | None]) -> None:
            self._drain.admit(note)
            if self._budgets is not None:
                self._budgets.admit(spec)

        return await self._store.create(Change(record, events), secret, idempotency, most=most, admit=admit)

    async def clusters(
        self, caller: Caller, states: Sequence[ClusterState] | None = None, *, everyone: bool = False
    ) -> list[ClusterRecord]:
        """Newest first; by default those that have not ended. `everyone`: of all owners, for administrators."""
        owner = None if everyone and caller.is_admin else caller.name
        return await self._store.clusters(owner, SHOWN if states is None else states)

    async def cluster(self, caller: Caller, name: str) -> ClusterRecord:
        return await self._get(caller, Action.SEE, name)

    async def wait(self, caller: Caller, name: str, *, after_version: int, timeout_s: float) -> ClusterRecord:
        """The record as soon as its version exceeds `after_version`, or as it is after `timeout_s`."""
        with self._changes.of_cluster(name) as changed:
            record = await self.cluster(caller, name)
            try:
                async with asyncio.timeout(timeout_s):
                    while record.version <= after_version and not record.state.is_final:
                        await changed.wait()
                        changed.clear()
                        record = await self.cluster(caller, name)
            except TimeoutError:
                pass
            return record

    async def scale(self, caller: Caller, name: str, count: int) -> tuple[ClusterRecord, str]:
        """Record, and a sentence where a limit changed the count. A starting cluster keeps the number."""
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise RequestInvalid(f"Scale expects a non-negative integer, got {count!r}", details={"field": "count"})
        return await self._wish(
            caller, name, lambda record: wishes.scaled(record, caller.name, count, self._clock.now())
        )

    async def adapt(
        self, caller: Caller, name: str, minimum: int | None, maximum: int | None, active: bool
    ) -> tuple[ClusterRecord, str]:
        """Record, and a sentence where a limit changed the bounds. `maximum` None: the cluster's limit."""
        wishes.check_bounds(minimum, maximum)
        now = self._clock.now
        if not active:
            return await self._wish(caller, name, lambda record: wishes.adaptive_off(record, caller.name, now()))
        return await self._wish(
            caller, name, lambda record: wishes.adaptive(record, caller.name, minimum or 0, maximum, now())
        )

    async def lease(self, caller: Caller, name: str, change: LeaseChange) -> ClusterRecord:
        """Keep it alive, extend its life, note that its client is there; LimitExceeded above the terms."""

        def changed(record: ClusterRecord) -> Change:
            now = self._clock.now()
            check(caller, Action.SCALE, record)
            if not record.state.is_active or record.wanted.stop is not None:
                raise not_running(record)
            return wishes.leased(record, caller.name, change, now)

        return (await self._store.change(name, changed, durable=not change.present)).record

    async def stop(self, caller: Caller, name: str) -> ClusterRecord:
        """Idempotent; an ended cluster is returned as it is."""
        await self._get(caller, Action.STOP, name)
        return await self._stop(name, plain(ReasonCode.STOPPED_BY_USER, by=caller.name))

    async def stop_all(self, reason: Reason) -> None:
        """End every cluster of everybody, for this reason; returns when all have ended."""
        with self._changes.of_owner(None) as changed:
            while True:
                changed.clear()  # before looking: what changes meanwhile is looked at again
                records = await self._store.clusters(states=SHOWN)
                if not records:
                    return
                for record in records:
                    if record.wanted.stop is None:
                        await self._stop(record.name, reason)
                await changed.wait()

    async def workers(self, caller: Caller, name: str) -> Sequence[WorkerRecord]:
        """Living and ended ones, oldest first."""
        await self._get(caller, Action.SEE, name)
        return await self._store.workers(name)

    async def events(self, caller: Caller, name: str | None, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Of one cluster, or of all the caller's clusters."""
        if name is None:
            return await self._store.events(owner=caller.name, after=after, limit=limit)
        await self._get(caller, Action.SEE, name)
        return await self._store.events(cluster=name, after=after, limit=limit)

    async def last_event(self, caller: Caller) -> int:
        """The id of the newest event of the caller's clusters: where to begin to `follow` them from now on."""
        return await self._store.last_event(caller.name)

    async def follow(self, caller: Caller, name: str | None, *, after: int = 0) -> AsyncIterator[Event]:
        """Stored events after `after`, then live ones; of one cluster until it has ended."""
        watch = self._changes.of_owner(caller.name) if name is None else self._changes.of_cluster(name)
        with watch as changed:
            while True:
                changed.clear()
                ended = name is not None and (await self.cluster(caller, name)).state.is_final
                while batch := await self.events(caller, name, after=after):
                    for event in batch:
                        yield event
                    after = batch[-1].id
                if ended:
                    return
                await changed.wait()

    async def credentials(self, caller: Caller, name: str) -> Credentials:
        """A fresh client identity; ClusterNotRunning unless it is running."""
        record = await self._get(caller, Action.CONNECT, name)
        if record.state is not ClusterState.RUNNING:
            raise not_running(record)
        secret = await self._store.secrets(name)
        now = self._clock.now()
        identity = issue(secret.ca_certificate, secret.ca_key, Role.CLIENT, name, caller.name, now)
        return Credentials(secret.ca_certificate, identity.certificate, identity.key, identity.expires_at)

    async def logs(
        self, caller: Caller, name: str, worker: str | None, *, max_bytes: int, lines: int | None = None
    ) -> str:
        """The end of what the scheduler wrote, or a worker; living or dead."""
        record = await self._get(caller, Action.READ_LOGS, name)
        return await self._logs.end(record, worker, max_bytes=max_bytes, lines=lines)

    async def follow_logs(
        self, caller: Caller, name: str, worker: str | None, *, position: str = "", lines: int | None = None
    ) -> AsyncIterator[LogPart]:
        """What the scheduler writes, or a worker, until it has ended. Errors come now, not from the iterator."""
        record = await self._get(caller, Action.READ_LOGS, name)
        await self._logs.check_follow(record, worker)
        return self._logs.follow(record, worker, position=position, lines=lines)

    async def drain(self, caller: Caller, *, on: bool | None = None, message: str = "") -> DrainView:
        """Turn drain mode on or off (None: neither), for administrators; how things are then."""
        check_admin(caller, "drain the server")
        if on is False and self._drain.is_configured:
            raise RequestInvalid("the server's configuration says `drain: true`, so only a change of it ends the drain")
        if on is not None:
            await (self._drain.begin(caller.name, message) if on else self._drain.end())
        state, left = await self._drain.state(), await self._store.count(SHOWN)
        if state is None:
            return DrainView(draining=False, clusters=left)
        return DrainView(draining=True, clusters=left, by=state.by, since=state.since, message=state.message)

    async def drain_sentence(self) -> str:
        """Why there are no new clusters; empty while there are."""
        state = await self._drain.state()
        return state.reason.sentence if state else ""

    async def _resolve(self, caller: Caller, options: Mapping[str, Any], lease: LeaseRequest) -> Resolved:
        name = cluster_name(caller.name, secrets.token_hex(4))
        resolved = await self._hooks.resolve(self._policy, caller, name, options, lease)
        if isinstance(self._backend, ChecksEnvironments):
            await self._backend.check_environment(resolved.spec.environment, caller.name)
        if isinstance(self._backend, ChecksOverlays) and (wrong := self._backend.check_overlay(resolved.spec.backend)):
            raise RequestInvalid(f"the backend does not take this: {'; '.join(wrong)}")
        return resolved

    async def usage(
        self,
        caller: Caller,
        by: str,
        since: str | None,
        until: str | None,
        fold: Callable[[Iterable[Interval], Query, float], T],
    ) -> T:
        """What `fold` makes, on another thread, of what the caller used; for administrators: of what everybody used."""
        now = self._clock.now()
        asked = query(by, since, until, now)
        user = None if caller.is_admin else caller.name
        return await self._store.intervals(asked.since, asked.until, user, lambda found: fold(found, asked, now))

    async def _stop(self, name: str, reason: Reason) -> ClusterRecord:

        def stopped(record: ClusterRecord) -> Change:
            return wishes.stopped(record, reason, self._clock.now())

        return (await self._store.change(name, stopped, durable=True)).record

    async def _get(self, caller: Caller, action: Action, name: str) -> ClusterRecord:
        record = await self._store.cluster(name)
        check(caller, action, record)
        return record

    async def _wish(
        self, caller: Caller, name: str, decide: Callable[[ClusterRecord], wishes.Granted]
    ) -> tuple[ClusterRecord, str]:
        def checked(record: ClusterRecord) -> wishes.Granted:
            check(caller, Action.SCALE, record)
            if not record.state.is_active or record.wanted.stop is not None:
                raise not_running(record)
            return decide(record)

        granted = await self._store.change(name, checked, durable=True)
        return granted.record, granted.message


def not_running(record: ClusterRecord) -> ClusterNotRunning:
    """The error for a cluster that is not running, or not any more."""
    return ClusterNotRunning(
        f"cluster {record.name} is not running: it is {record.state}, {record.reason.sentence}",
        hint=record.reason.hint,
        details={"cluster": record.name, "state": str(record.state), "code": str(record.reason.code)},
    )


def _digest(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(options), sort_keys=True, default=repr).encode()).hexdigest()
