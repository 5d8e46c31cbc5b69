"""Whatever stands in the old values: it is read, or said, and never ends in a traceback."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.cli.migrate.accepted import not_accepted
from dask_sluice.cli.migrate.gateway import Migration
from dask_sluice.cli.migrate.sources import Unreadable

from .test_gateway import DEPLOYMENTS, NAMES

VALUES = {name: yaml.safe_load(file.read_text()) for name in NAMES if (file := DEPLOYMENTS / f"{name}.yaml").exists()}
ODD = st.sampled_from([None, 3, -1, True, 1.5, "x", "{x}", "8 XB", [], {}, [1], {"a": 1}, [{"name": 1}], {"limits": 3}])
Place = tuple[str | int, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


@st.composite
def mistaken(draw: st.DrawFn) -> dict[str, Any]:
    """A deployment's values with some of them replaced, or with a line of its Python gone."""
    values: dict[str, Any] = copy.deepcopy(VALUES[draw(st.sampled_from(sorted(VALUES)))])
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(list(places(values))))
        inside: Any = values
        for key in above:
            inside = inside[key]
        if isinstance(inside[last], str) and "\n" in inside[last]:
            lines = inside[last].splitlines()
            del lines[draw(st.integers(0, len(lines) - 1))]
            inside[last] = "\n".join(lines)
        else:
            inside[last] = copy.deepcopy(draw(ODD))
    return values


@given(mistaken())
def test_odd_values_are_said(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "values.yaml")
        file.write_text(yaml.safe_dump(values))
        migration = Migration()
        try:
            migration.read((file,))
        except Unreadable as error:
            assert "values.yaml" in str(error) or "no values of dask-gateway" in str(error)
            return
    assert isinstance(yaml.safe_load(migration.text()), dict)
    assert migration.report.text()
    for problem in not_accepted(migration.settings):
        assert problem.startswith(("sluice.yaml, line", "a cluster"))
