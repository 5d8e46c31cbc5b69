"""Memory as people write it: one parser, whose every unit is written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.memory import parse_memory, shown

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8 GiB", 8 * GIB),
        ("8Gi", 8 * GIB),
        ("8G", 8 * GIB),
        ("2 G", 2 * GIB),
        ("8g", 8 * GIB),
        ("600 GB", 600 * 10**9),
        ("600G", 600 * GIB),
        ("1.25G", 5 * GIB // 4),
        ("22.5 G", 45 * GIB // 2),
        ("512 Mi", 512 * 2**20),
        ("128M", 128 * 2**20),
        ("2T", 2 * 2**40),
        ("8589934592", 8 * GIB),
        ("8.053063680e9", 8053063680),
        (8 * GIB, 8 * GIB),
        (0, 0),
    ],
)
def test_every_way_of_writing_it_is_understood(text: object, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["", "G", "8 GiG", "8 iB", "-1 G", "8,5 G", "eight", None, True, [8], float("nan"), -1]
)
def test_what_is_no_memory_is_refused_with_what_is(text: object) -> None:
    with pytest.raises(ValueError, match="must be memory such as '8 GiB'"):
        parse_memory(text)


@pytest.mark.parametrize("text", [4, "4", "64 K"])
def test_a_forgotten_unit_is_found_out(text: object) -> None:
    with pytest.raises(ValueError, match="less than one MiB"):
        parse_memory(text)


@given(st.integers(2**20, 2**50))
def test_bytes_are_taken_exactly(size: int) -> None:
    assert parse_memory(size) == parse_memory(str(size)) == size
    assert parse_memory(shown(size)) == pytest.approx(size, rel=1e-3)
