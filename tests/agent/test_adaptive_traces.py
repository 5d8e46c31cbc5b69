"""Adaptive scaling on what real schedulers went through, and on what hypothesis makes up: it does not flap.

Made-up loads follow the number of workers as real ones do; recorded ones (`scripts/adaptive_traces.py`) stay as they
are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.agent.adaptive import Bounds, Decision, Load, Look, Past, decide

TRACES = {path.stem: path for path in Path(__file__).with_name("traces").glob("*.json")}
BOUNDS = Bounds(0, 8)
PATIENCE_S = 10.0
EVERY_S = 1.0


@dataclass(frozen=True)
class Step:
    """One look, what was wanted before it, and what it led to."""

    time: float
    load: Load
    wanted: int
    decision: Decision | None

    @property
    def change(self) -> int:
        return 0 if self.decision is None else self.decision.count - self.wanted


def trace(name: str) -> list[Look]:
    """A recorded one."""
    looks = []
    for fields in json.loads(TRACES[name].read_text()):
        time = fields.pop("time")
        fields.pop("wanted")
        looks.append(Look(time, Load(**fields)))
    return looks


def play(
    looks: Sequence[Look], bounds: Bounds = BOUNDS, grant: Callable[[int], int] = lambda count: count
) -> list[Step]:
    """What is asked for over these looks, each wish granted at once."""
    return list(_play([look.time for look in looks], lambda at, _: looks[at].load, bounds, grant))


def _play(
    times: Sequence[float], load_at: Callable[[int, int], Load], bounds: Bounds, grant: Callable[[int], int]
) -> Iterator[Step]:
    wanted, past, looks = bounds.minimum, Past(), list[Look]()
    for at, time in enumerate(times):
        load = load_at(at, wanted)
        decision = decide(load, wanted, bounds, replace(past, looks=looks), time, PATIENCE_S)
        looks.append(Look(time, load))
        step = Step(time, load, wanted, decision)
        yield step
        if step.change > 0:
            past = replace(past, rose_at=time)
        elif step.change < 0:
            past = replace(past, fell_at=time)
        if decision is not None:
            wanted = grant(decision.count)


def turns(steps: Sequence[Step]) -> list[Step]:
    """Steps that go the other way than the change before them."""
    changes = [step for step in steps if step.change]
    return [now for before, now in pairwise(changes) if (before.change > 0) != (now.change > 0)]


def check(steps: Sequence[Step], bounds: Bounds) -> None:
    """What holds for every trace."""
    for step in steps:
        if step.decision is not None:
            assert bounds.minimum <= step.decision.count <= bounds.maximum
            assert len(step.decision.why) > 5
        if step.change < 0:
            before = [each for each in steps if step.time - PATIENCE_S < each.time <= step.time]
            assert step.decision is not None
            assert all(
                each.load.busy <= step.decision.count or step.decision.count == bounds.maximum for each in before
            )
            assert step.time - steps[0].time >= PATIENCE_S
            assert not any(each.change > 0 for each in before), "none is given up soon after some were asked for"
    for last, turn in pairwise(turns(steps)):
        urgent = turn.decision is not None and turn.decision.count >= 2 * turn.wanted
        assert turn.time - last.time >= PATIENCE_S or (turn.change > 0 and urgent)


@pytest.mark.parametrize("name", sorted(TRACES))
def test_recorded_work_changes_direction_at_most_once_in_a_cool_down_unless_twice_as_many_are_needed(name: str) -> None:
    check(play(trace(name)), BOUNDS)


@pytest.mark.parametrize("name", sorted(TRACES))
def test_the_first_worker_is_asked_for_within_one_look_of_work_appearing(name: str) -> None:
    steps = play(trace(name))
    for step in steps:
        assert step.wanted or not step.load.tasks or step.change > 0


@pytest.mark.parametrize("name", sorted(TRACES))
def test_once_there_is_nothing_to_do_the_minimum_is_asked_for_within_the_patience(name: str) -> None:
    looks = trace(name)
    began = looks[-1].time + EVERY_S
    idle = [Look(began + second * EVERY_S, replace(looks[-1].load, desired=0, tasks=0, busy=0)) for second in range(12)]
    steps = play([*looks, *idle])
    last = steps[-1]
    assert last.wanted == BOUNDS.minimum


def test_a_backlog_of_tiny_tasks_gets_all_workers_within_a_minute() -> None:
    steps = play(trace("tiny_tasks"))
    began = next(step.time for step in steps if step.load.tasks)
    full = next(step.time for step in steps if step.wanted == BOUNDS.maximum)
    assert full - began <= 60


def test_a_person_at_a_notebook_keeps_the_workers_over_short_pauses() -> None:
    steps = play(trace("sawtooth"))
    busy = [step.time for step in steps if step.load.tasks]
    pauses = [later - earlier for earlier, later in pairwise(busy)]
    assert sum(pause > 2 * EVERY_S for pause in pauses) >= 4, "there are pauses"
    assert len([step for step in steps if step.change < 0]) <= sum(pause > PATIENCE_S for pause in pauses) + 1


@given(data=st.data(), minimum=st.integers(0, 5), width=st.integers(0, 30))
def test_made_up_work_is_scaled_within_bounds_and_without_flapping(
    data: st.DataObject, minimum: int, width: int
) -> None:
    bounds = Bounds(minimum, minimum + width)
    phases = st.tuples(st.integers(1, 25), st.integers(0, 60), st.floats(0, 600), st.floats(0, 1))
    script = [phase for count, *phase in data.draw(st.lists(phases, max_size=8)) for _ in range(count)]

    def load_at(at: int, wanted: int) -> Load:
        tasks, work_s, memory = script[at]
        busy = min(int(tasks), wanted)
        desired = min(int(tasks), int(work_s / 5) + 1) if tasks else 0
        return Load(desired, int(tasks), work_s if tasks else 0, memory, workers=wanted, busy=busy, threads=wanted)

    times = [at * EVERY_S for at in range(len(script))]
    check(list(_play(times, load_at, bounds, lambda count: count)), bounds)


@given(data=st.data(), maximum=st.integers(1, 20))
def test_wishes_that_are_granted_late_or_in_part_stay_within_bounds(data: st.DataObject, maximum: int) -> None:
    bounds = Bounds(0, maximum)
    loads = st.builds(
        Load,
        desired=st.integers(0, 100),
        tasks=st.integers(0, 1000),
        work_s=st.floats(0, 1e5),
        memory_fraction=st.floats(0, 1),
        workers=st.integers(0, 20),
        busy=st.integers(0, 20),
        threads=st.integers(0, 80),
    )
    script = data.draw(st.lists(loads, max_size=40))
    got = data.draw(st.lists(st.integers(0, maximum), min_size=1, max_size=5))
    grants = iter(got * 40)
    times = [at * EVERY_S for at in range(len(script))]
    for step in _play(times, lambda at, _: script[at], bounds, lambda count: min(count, next(grants))):
        if step.decision is not None:
            assert 0 <= step.decision.count <= maximum
            assert step.decision.count != step.wanted
