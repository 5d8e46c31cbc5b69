"""Durations as people write them, those that the error message offers among them."""

import pytest

from dask_sluice.client.durations import seconds


@pytest.mark.parametrize(
    ("text", "length_s"),
    [("30min", 1800), ("30 min", 1800), ("2h", 7200), ("90 s", 90), (5, 5), ("1.5 h", 5400), (0, 0)],
)
def test_a_duration_is_understood(text: float | str, length_s: float) -> None:
    assert seconds(text) == length_s


@pytest.mark.parametrize("text", ["", "soon", "min", "-5", "1e30"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)
