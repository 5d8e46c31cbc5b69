"""What every backend must do, as tests that each backend's own test file runs.

A test file gives a fixture `harness` (see `Harness`) and a class:

    class TestLocalBackend(BackendConformance):
        @pytest.fixture
        async def harness(self, tmp_path): yield ...

The suite uses the five calls only, and polls: not every backend can watch.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import pytest

from dask_sluice.server.backends.protocol import (
    Backend,
    FollowsLogs,
    ForgetsClusters,
    Handle,
    Job,
    JobState,
    ReadsLogs,
    Refused,
    Seen,
    Watches,
)


class Harness(ABC):
    """One backend over one outside, which a test may leave and come back to."""

    patience_s = 20.0
    """How long any one thing may take."""
    many = 20
    """How many jobs "many" are."""

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """The backend under test, started."""

    @abstractmethod
    async def reopen(self) -> Backend:
        """Close the backend without ending any job, and start another one on the same outside."""

    @abstractmethod
    def scheduler_job(self, cluster: str) -> Job:
        """A scheduler that runs until it is removed. The same cluster gives the same job."""

    @abstractmethod
    def worker_job(self, cluster: str, number: int) -> Job:
        """A worker that runs until it is removed."""

    @abstractmethod
    def dying_job(self, cluster: str) -> Job:
        """A job that prints something and soon ends by itself with a non-zero exit code."""

    def refused_job(self, cluster: str) -> Job | None:
        """A job that this backend will never start; None where there is no such thing."""
        return None

    @abstractmethod
    async def leftovers(self) -> Sequence[str]:
        """What is still running out there, found in another way than through the backend."""


async def submit(backend: Backend, job: Job) -> list[Handle]:
    return [handle async for handle in backend.submit(job)]


async def seen(backend: Backend, handles: Sequence[Handle]) -> list[Seen]:
    return await backend.observe(handles)


async def until(harness: Harness, handle: Handle, *states: JobState) -> Seen:
    """What is seen once the handle is in one of these states."""
    deadline = time.monotonic() + harness.patience_s
    while True:
        look = (await harness.backend.observe([handle]))[0]
        if look.state in states:
            return look
        assert time.monotonic() < deadline, f"still {look} after {harness.patience_s} s"
        await asyncio.sleep(0.02)


async def running(harness: Harness, job: Job) -> list[Handle]:
    handles = await submit(harness.backend, job)
    for handle in handles:
        await until(harness, handle, JobState.RUNNING)
    return handles


async def remove_all(backend: Backend, handles: Sequence[Handle]) -> None:
    for handle in handles:
        await backend.remove(handle)


def unknown_handle(like: Handle) -> Handle:
    """A handle of the same shape for a job that never was."""
    data = json.loads(json.dumps(dict(like.data)).replace(like.job_id, "nobody-0"))
    return Handle(job_id="nobody-0", cluster="nobody", kind=like.kind, data=data)


class BackendConformance:
    """Inherit, and give a fixture `harness`."""

    # -- describe -------------------------------------------------------------------------------

    async def test_it_has_a_name_and_says_what_it_enforces(self, harness: Harness) -> None:
        capabilities = harness.backend.describe()
        assert capabilities.name
        assert capabilities.name == capabilities.name.lower()
        assert all(note.endswith(".") for note in capabilities.notes)

    # -- submit ---------------------------------------------------------------------------------

    async def test_a_submit_yields_at_least_one_handle_that_names_its_job(self, harness: Harness) -> None:
        job = harness.scheduler_job("one")
        handles = await submit(harness.backend, job)
        assert handles
        assert all((h.job_id, h.cluster, h.kind) == (job.id, "one", job.kind) for h in handles)

    async def test_a_handle_survives_json(self, harness: Harness) -> None:
        for handle in await submit(harness.backend, harness.scheduler_job("one")):
            assert json.loads(json.dumps(dict(handle.data))) == dict(handle.data)

    async def test_submitting_the_same_job_twice_starts_it_once(self, harness: Harness) -> None:
        job = harness.scheduler_job("one")
        first = await submit(harness.backend, job)
        second = await submit(harness.backend, job)
        assert [h.job_id for h in first] == [h.job_id for h in second]
        assert len(await harness.backend.recover()) == len(first)

    async def test_submitting_the_same_job_twice_at_once_starts_it_once(self, harness: Harness) -> None:
        job = harness.scheduler_job("one")
        first, _ = await asyncio.gather(submit(harness.backend, job), submit(harness.backend, job))
        assert len(await harness.backend.recover()) == len(first)

    async def test_submitting_after_a_restart_starts_it_once(self, harness: Harness) -> None:
        job = harness.scheduler_job("one")
        first = await running(harness, job)
        await harness.reopen()
        await submit(harness.backend, job)
        assert len(await harness.backend.recover()) == len(first)

    async def test_a_crash_between_two_yields_leaves_nothing_that_recover_does_not_find(self, harness: Harness) -> None:
        steps = cast("AsyncGenerator[Handle, None]", harness.backend.submit(harness.scheduler_job("one")))
        async for _ in steps:
            break  # the server died before the next step
        await steps.aclose()
        await harness.reopen()
        await remove_all(harness.backend, await harness.backend.recover())
        assert not await harness.leftovers()

    async def test_a_submit_that_is_never_iterated_starts_nothing(self, harness: Harness) -> None:
        steps: AsyncIterator[Handle] = harness.backend.submit(harness.scheduler_job("one"))
        del steps
        assert await harness.backend.recover() == []

    async def test_a_job_that_cannot_be_is_refused_with_a_sentence(self, harness: Harness) -> None:
        job = harness.refused_job("one")
        if job is None:
            pytest.skip("this backend refuses nothing")
        with pytest.raises(Refused, match=r"\w+ \w+"):
            await submit(harness.backend, job)
        assert await harness.backend.recover() == []

    async def test_scheduler_and_workers_of_a_cluster_are_separate_jobs(self, harness: Harness) -> None:
        scheduler = await running(harness, harness.scheduler_job("one"))
        workers = [await running(harness, harness.worker_job("one", number)) for number in (1, 2)]
        await remove_all(harness.backend, workers[0])
        states = {look.job_id: look.state for look in await seen(harness.backend, [*scheduler, *workers[1]])}
        assert set(states.values()) == {JobState.RUNNING}

    async def test_many_jobs_at_once_all_run(self, harness: Harness) -> None:
        jobs = [harness.worker_job("one", number) for number in range(1, harness.many + 1)]
        results = await asyncio.gather(*(submit(harness.backend, job) for job in jobs))
        handles = [handle for result in results for handle in result]
        for handle in handles:
            await until(harness, handle, JobState.RUNNING)
        await asyncio.gather(*(harness.backend.remove(handle) for handle in handles))
        assert not await harness.leftovers()

    # -- observe --------------------------------------------------------------------------------

    async def test_observing_nothing_gives_nothing(self, harness: Harness) -> None:
        assert await harness.backend.observe([]) == []

    async def test_a_running_job_has_a_host(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.scheduler_job("one"))
        look = await until(harness, handles[-1], JobState.RUNNING)
        assert look.host
        assert look.exit_code is None
        assert look.reason is None

    async def test_answers_come_in_the_order_of_the_question(self, harness: Harness) -> None:
        first = await submit(harness.backend, harness.worker_job("one", 1))
        second = await submit(harness.backend, harness.worker_job("two", 1))
        mixed = [*second, unknown_handle(first[0]), *first]
        assert [look.job_id for look in await seen(harness.backend, mixed)] == [h.job_id for h in mixed]

    async def test_an_unknown_handle_is_seen_as_ended(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.scheduler_job("one"))
        assert (await seen(harness.backend, [unknown_handle(handles[0])]))[0].state is JobState.ENDED

    async def test_a_job_that_dies_has_an_exit_code_and_its_last_lines(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.dying_job("one"))
        look = await until(harness, handles[-1], JobState.ENDED)
        assert look.exit_code not in (None, 0)
        assert look.log_tail.strip()

    async def test_a_job_that_died_while_the_server_was_away_is_seen_as_ended(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.dying_job("one"))
        await harness.reopen()
        look = await until(harness, handles[-1], JobState.ENDED)
        assert look.exit_code not in (None, 0)

    async def test_observing_after_a_restart_sees_the_same(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        before = await seen(harness.backend, handles)
        await harness.reopen()
        assert await seen(harness.backend, handles) == before

    async def test_a_removed_job_is_seen_as_ended_at_once(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        await remove_all(harness.backend, handles)
        assert {look.state for look in await seen(harness.backend, handles)} == {JobState.ENDED}

    # -- remove ---------------------------------------------------------------------------------

    async def test_removing_ends_everything_that_the_job_started(self, harness: Harness) -> None:
        handles = await running(harness, harness.worker_job("one", 1))
        await remove_all(harness.backend, handles)
        assert not await harness.leftovers()

    async def test_removing_before_it_runs_leaves_nothing(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.worker_job("one", 1))
        await remove_all(harness.backend, handles)
        assert not await harness.leftovers()

    async def test_removing_twice_is_success(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        await remove_all(harness.backend, handles)
        await remove_all(harness.backend, handles)

    async def test_removing_twice_at_once_is_success(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        await asyncio.gather(*(harness.backend.remove(handle) for handle in (*handles, *handles)))
        assert not await harness.leftovers()

    async def test_removing_an_unknown_handle_is_success(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.scheduler_job("one"))
        await harness.backend.remove(unknown_handle(handles[0]))
        assert (await seen(harness.backend, handles))[0].state is not JobState.ENDED

    async def test_removing_a_job_that_died_is_success(self, harness: Harness) -> None:
        handles = await submit(harness.backend, harness.dying_job("one"))
        await until(harness, handles[-1], JobState.ENDED)
        await remove_all(harness.backend, handles)

    async def test_removing_after_a_restart_ends_it(self, harness: Harness) -> None:
        handles = await running(harness, harness.worker_job("one", 1))
        await harness.reopen()
        await remove_all(harness.backend, handles)
        assert not await harness.leftovers()

    async def test_removing_the_scheduler_leaves_other_clusters_alone(self, harness: Harness) -> None:
        one = await running(harness, harness.scheduler_job("one"))
        two = await running(harness, harness.scheduler_job("two"))
        await remove_all(harness.backend, one)
        assert (await seen(harness.backend, two))[-1].state is JobState.RUNNING

    # -- recover --------------------------------------------------------------------------------

    async def test_nothing_is_recovered_where_nothing_was_started(self, harness: Harness) -> None:
        assert await harness.backend.recover() == []

    async def test_recover_finds_all_that_runs_after_a_restart(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        handles += await running(harness, harness.worker_job("one", 1))
        handles += await running(harness, harness.scheduler_job("two"))
        await harness.reopen()
        found = await harness.backend.recover()
        key: Any = lambda h: (h.job_id, sorted(h.data))  # noqa: E731
        assert sorted(found, key=key) == sorted(handles, key=key)

    async def test_recover_does_not_find_what_was_removed(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        await remove_all(harness.backend, handles)
        await harness.reopen()
        assert await harness.backend.recover() == []

    async def test_a_restart_ends_no_job(self, harness: Harness) -> None:
        handles = await running(harness, harness.scheduler_job("one"))
        for _ in range(2):
            await harness.reopen()
        assert (await seen(harness.backend, handles))[-1].state is JobState.RUNNING

    # -- the optional calls ---------------------------------------------------------------------

    async def test_a_watching_backend_tells_when_a_job_ends(self, harness: Harness) -> None:
        backend = harness.backend
        if not isinstance(backend, Watches):
            pytest.skip("this backend is polled")
        changes = aiter(backend.changes())
        handles = await submit(backend, harness.dying_job("one"))
        async with asyncio.timeout(harness.patience_s):
            while (await seen(backend, handles))[-1].state is not JobState.ENDED:
                assert await anext(changes) == "one"

    async def test_changes_end_when_the_backend_closes(self, harness: Harness) -> None:
        backend = harness.backend
        if not isinstance(backend, Watches):
            pytest.skip("this backend is polled")

        async def listen() -> None:
            async for _ in backend.changes():
                pass

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await harness.reopen()
        async with asyncio.timeout(harness.patience_s):
            await listening

    async def test_logs_can_be_read_after_the_job_died(self, harness: Harness) -> None:
        backend = harness.backend
        if not isinstance(backend, ReadsLogs):
            pytest.skip("this backend reads no logs")
        job = harness.dying_job("one")
        handles = await submit(backend, job)
        await until(harness, handles[-1], JobState.ENDED)
        assert (await backend.logs("one", job.id)).strip()
        assert len((await backend.logs("one", job.id, max_bytes=5)).encode()) <= 5
        assert await backend.logs("one", "nobody-0") == ""
        assert await backend.logs("two", job.id) == ""

    async def test_a_log_can_be_followed_to_its_end(self, harness: Harness) -> None:
        backend = harness.backend
        if not isinstance(backend, FollowsLogs) or not isinstance(backend, ReadsLogs):
            pytest.skip("this backend's logs cannot be followed")
        job = harness.dying_job("one")
        handles = await submit(backend, job)
        await until(harness, handles[-1], JobState.ENDED)
        text, position = "", ""
        while (part := await backend.log_after("one", job.id, position, max_bytes=16)).position != position:
            text, position = text + part.text, part.position
        assert text
        assert (await backend.logs("one", job.id)).endswith(text)
        assert (await backend.log_after("one", "nobody-0", "", max_bytes=16)).text == ""

    async def test_forgetting_a_cluster_twice_is_success(self, harness: Harness) -> None:
        backend = harness.backend
        if not isinstance(backend, ForgetsClusters):
            pytest.skip("this backend keeps nothing")
        job = harness.scheduler_job("one")
        await remove_all(backend, await running(harness, job))
        assert await backend.kept() == ["one"]
        await backend.forget("one")
        await backend.forget("one")
        assert await backend.kept() == []
        if isinstance(backend, ReadsLogs):
            assert await backend.logs("one", job.id) == ""
