"""Dask's configuration as variables, read back by Dask itself."""

from __future__ import annotations

from typing import Any

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.dask_config import as_variables


def read_back(config: Any) -> dict[str, Any]:
    """What Dask makes of the variables."""
    return dask.config.collect_env(as_variables(config))


@pytest.mark.parametrize(
    "config",
    [
        {"distributed.worker.memory.spill": 0.5},
        {"distributed": {"worker": {"memory": {"spill": 0.5}}}},
        {"distributed.worker": {"memory.spill": 0.5}},
    ],
)
def test_keys_are_dotted_or_nested(config: dict[str, Any]) -> None:
    assert as_variables(config) == {"DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "0.5"}


@pytest.mark.parametrize(
    "value", ["10s", "0.5", "true", "None", "", "{options.x}", 'it\'s "so"', True, False, None, 3, 0.5, [1, "a"], {}]
)
def test_a_value_arrives_as_what_it_was(value: Any) -> None:
    assert read_back({"distributed.x": value}) == {"distributed": {"x": value}}


def test_a_variable_finds_the_key_that_dask_writes_with_a_dash() -> None:
    found = dask.config.collect([], as_variables({"distributed.scheduler.allowed-failures": 20}))
    defaults = {"distributed": {"scheduler": {"allowed-failures": 3, "bandwidth": 1}}}
    dask.config.update(defaults, found)
    assert defaults == {"distributed": {"scheduler": {"allowed-failures": 20, "bandwidth": 1}}}


@pytest.mark.parametrize(
    "config",
    [
        {"logging": {"distributed.client": "warning", "tornado": "error"}},
        {"distributed": {"worker": {"resources": {"my-disk": 1}}}},
        {"distributed": {"nanny": {"environ": {"OMP_NUM_THREADS": 2}}}},
        {"mine": {"Big": 1}},
    ],
)
def test_names_of_something_else_stay_as_they_are(config: dict[str, Any]) -> None:
    assert read_back(config) == config


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("spill", "must be keys of Dask's configuration with values"),
        ({"Distributed": 1}, "has a key 'Distributed'"),
        ({"distributed.": 1}, "has a key 'distributed.'"),
        ({"a__b": 1}, "has a key 'a__b'"),
        ({1: 2}, "has a key 1"),
        ({"a.b-c": 1, "a": {"b_c": 2}}, "says 'a.b_c' twice"),
        ({"a": float("inf")}, "a: must be text, a finite number"),
        ({"a": {"b": [object()]}}, "a.b: must be text"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_key(config: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        as_variables(config)


PARTS = st.from_regex(r"[a-z]{1,3}([_][a-z]{1,2})?", fullmatch=True).filter(lambda part: part not in ("environ",))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.recursive(VALUES, lambda inner: st.dictionaries(PARTS, inner, min_size=1, max_size=3), max_leaves=10))
def test_any_configuration_is_read_back_as_it_was(config: Any) -> None:
    if isinstance(config, dict):
        assert read_back(config) == config
