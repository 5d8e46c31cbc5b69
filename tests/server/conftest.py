"""What tests of the server share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from dask_sluice.server.store.engines import Location

from ..postgresql import PostgreSQL


@pytest.fixture(params=["sqlite", "postgresql"])
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Location]:
    """Makes new databases of either kind: what is tested with them must hold for both."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.new_database
    numbers = itertools.count()
    return lambda: tmp_path / f"sluice-{next(numbers)}.db"


@pytest.fixture
def location(new_location: Callable[[], Location]) -> Location:
    """A new database of either kind."""
    return new_location()
