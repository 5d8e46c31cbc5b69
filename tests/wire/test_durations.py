"""Times are said as people say them, and exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.client.durations import seconds
from dask_sluice.wire.durations import span


@pytest.mark.parametrize(
    ("given_s", "said"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (59, "59 s"),
        (90, "1 min 30 s"),
        (1800, "30 min"),
        (1800.0, "30 min"),
        (5400, "1 h 30 min"),
        (7201, "2 h 1 s"),
        (86400, "1 d"),
        (-60, "-1 min"),
    ],
)
def test_a_time_is_said_in_its_greatest_units(given_s: float, said: str) -> None:
    assert span(given_s) == said


@given(st.integers(0, 10**8))
def test_what_is_said_is_what_was_meant(given_s: int) -> None:
    parts = span(given_s).split(" ")
    assert sum(seconds("".join(pair)) for pair in zip(parts[::2], parts[1::2], strict=True)) == given_s
