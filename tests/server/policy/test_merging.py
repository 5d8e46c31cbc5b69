"""Layers: mappings merge, lists replace unless appended, null takes away; each value knows its source."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.merging import Layer, leaves, merge

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "append"]), inner, max_size=3),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, max_size=3), max_size=4)


def test_mappings_merge_and_the_rest_replaces() -> None:
    merged = merge(
        [
            Layer("low", {"worker": {"cores": 1, "memory": "2 G"}, "list": [1], "gone": 1}),
            Layer("high", {"worker": {"cores": 4}, "list": [2], "gone": None}),
        ]
    )
    assert merged.values == {"worker": {"cores": 4, "memory": "2 G"}, "list": [2]}
    assert merged.source("worker", "cores") == "high"
    assert merged.source("worker", "memory") == "low"
    assert merged.source("gone") == ""


def test_a_list_is_appended_to_where_that_is_said() -> None:
    layers = [Layer("low", {"t": [1]}), Layer("mid", {"t": {"append": [2]}}), Layer("high", {"t": {"append": [3]}})]
    assert merge(layers).values == {"t": [1, 2, 3]}
    assert merge(layers).source("t") == "low + mid + high"
    assert merge(layers[1:]).values == {"t": [2, 3]}


def test_a_mapping_may_take_the_place_of_a_value_and_back() -> None:
    layers = [Layer("1", {"x": 1}), Layer("2", {"x": {"y": 2}}), Layer("3", {"x": 3})]
    assert merge(layers[:2]).values == {"x": {"y": 2}}
    assert merge(layers).values == {"x": 3}
    assert merge(layers).sources == {("x",): "3"}


@given(LAYERS)
def test_layers_are_left_as_they_are_and_every_leaf_has_a_source(values: list[dict[str, Any]]) -> None:
    layers = [Layer(str(index), value) for index, value in enumerate(values)]
    before = copy.deepcopy(layers)
    merged = merge(layers)
    assert layers == before
    for path, value in leaves(merged.values):
        assert merged.source(*path) != ""
        assert value is not None
    assert set(merged.sources) >= {path for path, _ in leaves(merged.values)}


@given(LAYERS)
def test_a_layer_over_itself_changes_nothing_but_what_is_appended(values: list[dict[str, Any]]) -> None:
    layers = [Layer("x", value) for value in values if "append" not in repr(value)]
    assert merge([*layers, *layers[-1:]]).values == merge(layers).values
