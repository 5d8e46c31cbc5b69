"""Adaptive scaling asks for more at once, for fewer only after patience, and says why."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.agent.adaptive import BEHIND_S, Adaptive, Bounds, Decision, Load, Look, Past, decide

PATIENCE_S = 3.0
BOUNDS = Bounds(0, 10)
IDLE = Load(desired=0, tasks=0, work_s=0, memory_fraction=0)


def busy(desired: int, tasks: int = 900, work_s: float = 360) -> Load:
    return Load(desired, tasks, work_s, memory_fraction=0.1)


def history(*counts: int, every_s: float = 1.0, now: float = 100.0) -> Past:
    """So many were desired; the last look was a step before now."""
    loads = [busy(count) if count else IDLE for count in counts]
    return Past([Look(now - every_s * (len(loads) - index), load) for index, load in enumerate(loads)])


def test_more_is_asked_for_at_once_and_the_reason_tells_the_work_ahead() -> None:
    assert decide(busy(7), 2, BOUNDS, Past(), 100, PATIENCE_S) == Decision(7, "900 tasks wait, about 6 min of work")


def test_one_task_that_nobody_has_timed_asks_for_a_worker_in_proper_words() -> None:
    assert decide(busy(1, tasks=1, work_s=0.5), 0, BOUNDS, Past(), 100, PATIENCE_S) == Decision(1, "1 task waits")


def test_full_memory_is_named_as_the_reason() -> None:
    load = Load(desired=4, tasks=0, work_s=0, memory_fraction=0.71)
    assert decide(load, 2, BOUNDS, Past(), 100, PATIENCE_S) == Decision(4, "results fill 71% of the workers' memory")


def test_the_maximum_holds() -> None:
    assert decide(busy(500), 2, BOUNDS, Past(), 100, PATIENCE_S) == Decision(10, "900 tasks wait, about 6 min of work")
    assert decide(busy(500), 10, BOUNDS, Past(), 100, PATIENCE_S) is None


def test_new_bounds_hold_at_once() -> None:
    assert decide(IDLE, 0, Bounds(2, 5), Past(), 100, PATIENCE_S) == Decision(2, "the bounds are 2 to 5")
    assert decide(busy(9), 9, Bounds(2, 5), Past(), 100, PATIENCE_S) == Decision(5, "the bounds are 2 to 5")


def test_fewer_are_asked_for_only_after_a_whole_window_of_idleness() -> None:
    assert decide(IDLE, 4, BOUNDS, history(0, 0), 100, PATIENCE_S) is None
    assert decide(IDLE, 4, BOUNDS, history(0, 0, 0), 100, PATIENCE_S) == Decision(0, "nothing to do for 3 s")


def test_a_burst_within_the_window_keeps_the_workers_it_deserved() -> None:
    assert decide(IDLE, 4, BOUNDS, history(0, 0, 4, 0), 100, PATIENCE_S) is None
    decision = decide(busy(1, tasks=3, work_s=20), 4, BOUNDS, history(0, 1, 2, 1), 100, PATIENCE_S)
    assert decision == Decision(2, "3 tasks wait, about 20 s of work; fewer have been enough for 3 s")


def test_what_was_right_under_older_bounds_is_seen_through_the_new_ones() -> None:
    assert decide(IDLE, 4, Bounds(0, 4), history(9, 9, 9), 100, PATIENCE_S) is None


@given(
    desired=st.integers(0, 50),
    wanted=st.integers(0, 50),
    minimum=st.integers(0, 20),
    width=st.integers(0, 20),
    counts=st.lists(st.integers(0, 50), max_size=8),
)
def test_a_decision_is_within_bounds_changes_something_and_never_undercuts_the_window(
    desired: int, wanted: int, minimum: int, width: int, counts: list[int]
) -> None:
    bounds = Bounds(minimum, minimum + width)
    past = history(*counts)
    decision = decide(busy(desired), wanted, bounds, past, 100, PATIENCE_S)
    if decision is None:
        assert bounds.minimum <= wanted <= bounds.maximum
        assert bounds.clamp(desired) <= wanted
        return
    assert decision.count != wanted
    assert decision.why
    assert bounds.minimum <= decision.count <= bounds.maximum
    if decision.count < wanted <= bounds.maximum:
        recent = [look.load.desired for look in past.looks if look.time > 100 - PATIENCE_S]
        assert all(bounds.clamp(count) <= decision.count for count in [*recent, desired])
        assert len(counts) >= PATIENCE_S


def test_workers_that_have_tasks_are_not_given_up() -> None:
    tail = Load(desired=0, tasks=3, work_s=1, memory_fraction=0, workers=8, busy=3, threads=8)
    past = Past([Look(95 + second, tail) for second in range(5)])
    decision = decide(tail, 8, BOUNDS, past, 100, PATIENCE_S)
    assert decision == Decision(3, "3 tasks wait, about 1 s of work; fewer have been enough for 3 s")


def test_after_some_were_given_up_a_fluctuation_brings_none_back_but_a_new_burst_does() -> None:
    past = Past(fell_at=99)
    assert decide(busy(5), 4, BOUNDS, past, 100, PATIENCE_S) is None
    assert decide(busy(8), 4, BOUNDS, past, 100, PATIENCE_S) == Decision(8, "900 tasks wait, about 6 min of work")
    assert decide(busy(1), 0, BOUNDS, past, 100, PATIENCE_S) == Decision(1, "900 tasks wait, about 6 min of work")
    assert decide(busy(5), 4, BOUNDS, past, 102, PATIENCE_S) == Decision(5, "900 tasks wait, about 6 min of work")


def piled(tasks: int, workers: int = 2) -> Load:
    """Tasks that take next to no time, as far as distributed knows."""
    return Load(desired=1, tasks=tasks, work_s=1, memory_fraction=0, workers=workers, busy=workers, threads=workers)


def test_tiny_tasks_that_pile_up_get_twice_as_many_workers() -> None:
    past = Past([Look(100 - BEHIND_S + second, piled(1000)) for second in range(int(BEHIND_S))])
    decision = decide(piled(900), 2, BOUNDS, past, 100, PATIENCE_S)
    assert decision == Decision(4, "900 tasks wait, about 1 s of work, and in 5 s not half of it got done")
    assert decide(piled(900, workers=1), 2, BOUNDS, past, 100, PATIENCE_S) is None, "one is still to come"
    assert decide(piled(400), 2, BOUNDS, past, 100, PATIENCE_S) is None, "they are soon done"
    assert decide(piled(900), 2, BOUNDS, replace(past, rose_at=97), 100, PATIENCE_S) is None, "it has just risen"


class Workless:
    """A scheduler of which only this is asked."""

    workers: dict[str, object] = {}  # noqa: RUF012
    unrunnable: set[object] = set()  # noqa: RUF012
    total_occupancy = 0.0

    def __init__(self) -> None:
        self.target = 0

    def adaptive_target(self) -> int:
        return self.target


def test_nothing_is_asked_for_without_bounds_or_before_the_server_said_what_it_wants() -> None:
    adaptive, scheduler = Adaptive(), Workless()
    scheduler.target = 5
    assert adaptive.look(scheduler, 0) is None
    adaptive.set_bounds(0, 8)
    assert adaptive.look(scheduler, 1) is None
    adaptive.wanted = 0
    decision = adaptive.look(scheduler, 2)
    assert decision is not None
    assert decision.count == 5
    adaptive.set_bounds(None, None)
    assert adaptive.look(scheduler, 3) is None


def test_new_bounds_start_a_new_window() -> None:
    adaptive, scheduler = Adaptive(), Workless()
    adaptive.wanted = 4
    adaptive.set_bounds(0, 8)
    assert [adaptive.look(scheduler, float(time)) for time in range(3)] == [None] * 3
    adaptive.set_bounds(0, 9)
    assert adaptive.look(scheduler, 3.0) is None
    assert adaptive.look(scheduler, 6.0) == Decision(0, "nothing to do for 3 s")
