"""The description of the API that is checked in is the one that the server serves."""

from __future__ import annotations

import json
from pathlib import Path

import dask_sluice.server
from dask_sluice.server.http.app import bare_app
from dask_sluice.server.http.openapi import document

from .site import Site

FILE = Path(dask_sluice.server.__file__).parent / "openapi.json"


def test_a_change_of_the_api_is_seen_in_review() -> None:
    """After a change: `python -m dask_sluice.server.http.openapi`."""
    assert FILE.read_text() == document()


async def test_the_server_serves_its_description(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/v2/openapi.json")).json() == json.loads(document())


def test_every_operation_is_described_and_names_its_errors() -> None:
    described = bare_app().openapi()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}, (method, path)
