"""How long a scheduler waits before it dials its server again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.agent.link import pause_s


def test_the_first_pauses_double_from_a_tenth_of_a_second() -> None:
    assert [pause_s(attempt, 1, 1.0) for attempt in range(4)] == [0.1, 0.2, 0.4, 0.8]


def test_a_server_that_is_just_restarting_is_tried_every_second() -> None:
    assert pause_s(20, 29, 1.0) == 1.0


def test_a_server_that_is_away_for_long_is_tried_every_ten_seconds() -> None:
    assert pause_s(20, 31, 1.0) == 10.0
    assert pause_s(100_000, 1e6, 1.0) == 10.0


@given(st.integers(0, 10**6), st.floats(0, 1e7), st.floats(0, 1))
def test_chance_spreads_the_pauses_over_their_upper_half(attempt: int, away_s: float, chance: float) -> None:
    longest = pause_s(attempt, away_s, 1.0)
    assert longest / 2 <= pause_s(attempt, away_s, chance) <= longest
