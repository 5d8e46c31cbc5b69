"""The table of old and new keys: what it names exists, the pages show it, and helm takes what comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from dask_sluice.cli.migrate.keys import CHART, ROWS, row_of_trait, trait_name
from dask_sluice.server.settings_reference import schema_at
from scripts import migration_pages

from ...chart.helm import CHART as FOLDER
from ...chart.helm import template
from .test_gateway import NAMES, migrated

CHARTED = [name for name in NAMES if name != "nebari"]


@pytest.mark.parametrize("name", migration_pages.PAGES)
def test_the_pages_show_the_tables_of_the_commands(name: str) -> None:
    text = (migration_pages.DOCS / name).read_text()
    assert text == migration_pages.page(name), "python scripts/migration_pages.py --write"


@pytest.mark.parametrize("new", sorted({key.strip() for row in ROWS for key in row.new.split(",") if row.new}))
def test_every_new_key_exists(new: str) -> None:
    if not new.startswith(CHART):
        assert schema_at(new.split(".")) is not None
        return
    if new == f"{CHART}global":  # helm's own
        return
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    here: Mapping[str, Any] = schema
    for part in new.removeprefix(CHART).split("."):
        while "$ref" in here or "allOf" in here:
            reference = here["$ref"] if "$ref" in here else here["allOf"][0]["$ref"]
            here = schema["$defs"][reference.rpartition("/")[2]]
        assert part in here["properties"], new
        here = here["properties"][part]


def test_old_keys_are_named_once() -> None:
    names = [name for row in ROWS for name in row.old]
    assert sorted(names) == sorted(set(names))


def test_a_trait_counts_for_the_classes_beneath_it() -> None:
    row = row_of_trait("KubeClusterConfig.idle_timeout")
    assert row is not None
    assert row.new == "leases.idle.default"
    assert trait_name("KubeClusterConfig.idle_timeout") == "ClusterConfig.idle_timeout"
    assert row_of_trait("LocalClusterConfig.image") is None


@pytest.mark.parametrize("name", CHARTED)
def test_helm_takes_the_values_that_are_printed(name: str) -> None:
    migration = migrated(name)
    values = yaml.safe_load(migration.text())
    for key in (*migration.under[:-1], *(["dask-sluice"] if migration.under else [])):
        values = values[key]
    assert "kind: Deployment" in template(values)
