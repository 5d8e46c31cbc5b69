"""A cluster of another release than the client's is warned of, with where its versions come from and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_sluice.client.versions import mismatch
from dask_sluice.wire.api import ClusterView

from ..wire.test_api import VIEW

OURS = {"python": "3.11.4", "distributed": "2026.8.1"}
SAME = {"python": "3.11.9", "dask": "2026.8.0", "distributed": "2026.8.0"}


def view(versions: dict[str, str], **fields: str) -> ClusterView:
    return replace(VIEW, versions=versions, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("versions", [{}, SAME, OURS])
def test_the_same_release_or_an_unknown_one_is_not_worth_a_word(versions: dict[str, str]) -> None:
    assert mismatch(view(versions), OURS) == ""


def test_another_release_is_named_with_the_image_that_has_it() -> None:
    told = mismatch(view({**SAME, "distributed": "2024.8.0"}, image="registry.example.org/lab/dask:2024.8"), OURS)
    assert told == (
        "Mismatched versions found: cluster alice-1 (image registry.example.org/lab/dask:2024.8) has distributed "
        "2024.8.0, here is 2026.8.1. Tasks and results may not be understood on the other side. Choose an image with "
        "the versions that are here, or have the same here as there."
    )


def test_another_python_counts_too_and_an_environment_is_named_by_its_path() -> None:
    told = mismatch(view({**SAME, "python": "3.9.2"}, environment="/opt/envs/old"), OURS)
    assert "(environment /opt/envs/old) has python 3.9.2, here is 3.11.4." in told
    assert "Choose an environment" in told
    assert "(default environment)" in mismatch(view({"python": "3.9.2"}), OURS)
