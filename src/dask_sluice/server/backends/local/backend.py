"""The five calls, and the small optional ones."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

from ....wire.errors import EnvironmentInvalid
from ....wire.processes import ZOMBIE
from ..news import News
from ..protocol import Capabilities, Handle, Job, JobState, LogPart, Refused, Seen, Unavailable
from . import endings
from .accounts import Account, account_of, closed_to_others, may_change_accounts, own_account
from .connection import NurseryLost
from .directories import Directories, JobFiles, Mark, read_json
from .forks import cannot_start, complete, fork_request
from .handles import kind_of, make_handle, session_of
from .job_logs import log_after, log_end
from .nurseries import Nurseries
from .processes import Session, Sessions, living
from .settings import LocalSettings

logger = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_LOG_TAIL_BYTES = 4000
_LEFTOVERS_TAKE_S = 1.0
"""Longest that a look waits until what ended jobs left behind has ended too; it takes some milliseconds."""
_LOOK_EVERY_S = 5.0
"""How often to look for ends of which no nursery told, because it was killed."""


class LocalBackend:
    """Runs jobs as processes of this machine, forked from warm parents."""

    def __init__(
        self, settings: LocalSettings | None = None, *, data_dir: Path, runtime_dir: Path, stage: Path
    ) -> None:
        self._settings = settings or LocalSettings()
        self._stage = stage
        self._directories = Directories(data_dir / "clusters")
        self._nurseries = Nurseries(
            self._settings, stage=stage, runtime_dir=runtime_dir, log_dir=data_dir / "logs", on_end=self._on_end
        )
        self._sessions = Sessions()
        self._forking: dict[str, asyncio.Task[Handle]] = {}
        self._clusters: dict[str, str] = {}
        """Cluster of each job that we know."""
        self._running: dict[str, Handle] = {}
        """By job: not seen to have ended yet, so its end is worth telling."""
        self._over: set[str] = set()
        """Jobs that ended and left nothing behind."""
        self._news = News()
        self._looking: asyncio.Task[None] | None = None
        self._cleaning: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._directories.prepare(open_to_others=may_change_accounts())
        if may_change_accounts():
            for needed in (self._stage, Path(sys.executable)):
                if (closed := closed_to_others(needed)) is not None:
                    logger.warning(
                        "Clusters of other Unix accounts cannot read %s: %s is closed to them.", needed, closed
                    )
        await self._nurseries.start()
        self._looking = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if unfinished := {*self._forking.values(), *self._cleaning}:
            await asyncio.wait(unfinished, timeout=self._settings.stop_grace_s)
        await self._nurseries.close()
        self._news.close()

    def describe(self) -> Capabilities:
        notes = [
            "The local backend does not enforce cores: they say how many threads a worker has.",
            "Workers' memory is watched by Dask's Nanny, which restarts them at their limit; schedulers' is not.",
        ]
        own = own_account().name
        if not may_change_accounts():
            notes.append(f"All users share one account: every cluster runs as {own}, as this server does.")
        elif not self._settings.shared_account:
            notes.append(
                f"Users without a Unix account of their name share one: their clusters run as {own}, with all its"
                " rights on this machine, unless shared_account names another."
            )
        return Capabilities(
            name="local",
            enforces_memory=False,
            enforces_cores=False,
            separates_users=may_change_accounts(),
            notes=tuple(notes),
        )

    # -- the five calls

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        forking = self._forking.get(job.id)
        if forking is None:
            forking = self._forking[job.id] = asyncio.create_task(self._submit(job))
            forking.add_done_callback(lambda _: self._forking.pop(job.id, None))
        try:
            handle = await asyncio.shield(forking)
        except asyncio.CancelledError:
            # Nobody gets the handle of what is being forked just now, so nobody else could end it.
            self._clean(self._end_unwanted(forking))
            raise
        yield handle

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        seen = await self._look_at(handles)
        over: list[Session] = []
        for handle, look in zip(handles, seen, strict=True):
            if look.state is not JobState.ENDED:
                self._keep(handle)
            elif handle.job_id not in self._over and (session := self._session(handle)) is not None:
                self._running.pop(handle.job_id, None)
                self._over.add(handle.job_id)
                over.append(session)
        if over:
            cleaning = [self._clean(self._end_leftovers(session)) for session in over]
            await asyncio.wait(cleaning, timeout=_LEFTOVERS_TAKE_S)
        return seen

    async def remove(self, handle: Handle) -> None:
        session = self._session(handle)
        if session is not None:
            await self._sessions.end(session, self._settings.stop_grace_s)
            self._over.add(handle.job_id)
            self._running.pop(handle.job_id, None)

    async def recover(self) -> list[Handle]:
        found = await asyncio.to_thread(self._find_living)
        for handle in found:
            self._keep(handle)
        return found

    # -- the optional ones

    def changes(self) -> AsyncIterator[str]:
        return self._news.listen()

    async def logs(self, cluster: str, job_id: str, *, max_bytes: int = 1_000_000) -> str:
        files = self._directories.files(cluster, job_id)
        return await asyncio.to_thread(log_end, files, max_bytes)

    async def log_after(self, cluster: str, job_id: str, position: str, *, max_bytes: int) -> LogPart:
        files = self._directories.files(cluster, job_id)
        return await asyncio.to_thread(log_after, files, position, max_bytes)

    async def check_environment(self, environment: str, owner: str) -> None:
        if environment:
            try:
                account = await asyncio.to_thread(account_of, owner, self._settings.shared_account)
            except Refused as error:
                raise EnvironmentInvalid(str(error)) from error
            await self._nurseries.get(environment, account)

    async def forget(self, cluster: str) -> None:
        for handle in await asyncio.to_thread(self._find_living, cluster):
            await self.remove(handle)
        await asyncio.to_thread(self._directories.forget, cluster)
        for job_id in [job_id for job_id, name in self._clusters.items() if name == cluster]:
            del self._clusters[job_id]
            self._running.pop(job_id, None)
            self._over.discard(job_id)

    async def kept(self) -> list[str]:
        return await asyncio.to_thread(self._directories.clusters)

    # -- submitting

    async def _submit(self, job: Job) -> Handle:
        self._clusters[job.id] = job.cluster  # before the fork: its end may be told before its handle is here
        files = self._directories.files(job.cluster, job.id)
        try:
            account, mark = await asyncio.to_thread(self._prepare, job, files)
            if mark is None:
                mark = await self._fork(job, files, account)
        except EnvironmentInvalid as error:
            raise Refused(error.message) from error
        except OSError as error:
            raise cannot_start(error.errno, error.strerror, error.filename, own_account().name) from error
        handle = self._running[job.id] = make_handle(job.cluster, job.id, job.kind, mark)
        return handle

    def _prepare(self, job: Job, files: JobFiles) -> tuple[Account, Mark | None]:
        """As whom the job runs, and its mark if it was forked before; else its files are ready now."""
        account = account_of(job.owner, self._settings.shared_account)
        mark = self._directories.mark(files)
        if mark is None:
            self._directories.create(job.cluster, account)
            self._directories.write_launch(files, complete(job.launch, files), account)
        return account, mark

    async def _fork(self, job: Job, files: JobFiles, account: Account) -> Mark:
        fork = fork_request(job, files, account, self._settings.log_bytes)
        nursery = await self._nurseries.get(job.environment, account)
        try:
            answer = await nursery.connection.request("fork", **fork)
        except NurseryLost:
            mark = await asyncio.to_thread(self._directories.mark, files)
            if mark is not None:
                return mark
            nursery = await self._nurseries.get(job.environment, account)
            answer = await nursery.connection.request("fork", **fork)
        if answer.get("errno") == errno.EEXIST and (mark := await asyncio.to_thread(self._directories.mark, files)):
            return mark  # forked by a request that another server made, just before it was killed
        if "error" in answer:
            raise cannot_start(answer["errno"], answer["error"], answer["path"], account.name)
        return Mark(int(answer["pid"]), str(answer["start_time"]), account.uid)

    # -- cleaning up

    def _clean(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        cleaning = asyncio.create_task(work)
        self._cleaning.add(cleaning)
        cleaning.add_done_callback(self._cleaning.discard)
        return cleaning

    async def _end_leftovers(self, session: Session) -> None:
        """End what a job left behind that ended unasked."""
        try:
            await self._sessions.end(session, 0)
        except Unavailable as error:
            logger.warning("Left over from a job that has ended: %s", error)

    async def _end_unwanted(self, forking: asyncio.Task[Handle]) -> None:
        with contextlib.suppress(Refused, Unavailable):
            await self.remove(await asyncio.shield(forking))

    # -- looking

    async def _look_at(self, handles: Sequence[Handle]) -> list[Seen]:
        nurseries = self._nurseries.pids()
        return await asyncio.to_thread(lambda: [self._look(handle, nurseries) for handle in handles])

    def _look(self, handle: Handle, nurseries: frozenset[int]) -> Seen:
        files = self._directories.files(handle.cluster, handle.job_id)
        session = session_of(handle, files)
        if session is None:
            return Seen(handle.job_id, JobState.ENDED)
        leader = session.leader
        if leader is not None:
            # A zombie's nursery is just about to write how it ended: a moment later more is known.
            about_to_be_told = leader.parent in nurseries and not files.exit.exists()
            if leader.state != ZOMBIE or (about_to_be_told and handle.job_id not in self._over):
                return Seen(handle.job_id, JobState.RUNNING, host=_HOST)
        tail = log_end(files, _LOG_TAIL_BYTES)
        return endings.ended(handle.job_id, handle.kind, read_json(files.exit), read_json(files.last_words), tail)

    def _find_living(self, of: str | None = None) -> list[Handle]:
        found: dict[Session, Handle] = {}
        for cluster, files, mark in self._directories.marked(of):
            handle = make_handle(cluster, files.job_id, kind_of(read_json(files.launch)), mark)
            if (session := session_of(handle, files)) is not None:
                found[session] = handle
        alive = living(list(found)) if found else set()
        return [handle for session, handle in found.items() if session in alive]

    def _session(self, handle: Handle) -> Session | None:
        return session_of(handle, self._directories.files(handle.cluster, handle.job_id))

    def _keep(self, handle: Handle) -> None:
        self._clusters[handle.job_id] = handle.cluster
        self._running[handle.job_id] = handle

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for seen in await self._look_at(list(self._running.values())):
                if seen.state is JobState.ENDED:
                    self._tell(self._clusters.get(seen.job_id))

    def _on_end(self, job_id: str) -> None:
        self._tell(self._clusters.get(job_id))

    def _tell(self, cluster: str | None) -> None:
        if cluster is not None:
            self._news.tell(cluster)
