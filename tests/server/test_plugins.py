"""What a configuration names and cannot be had keeps the server from starting, with a sentence and not a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_sluice.server.backends.registry import GROUP, make_backend
from dask_sluice.server.directories import directories
from dask_sluice.server.identity.registry import make_authenticator
from dask_sluice.server.plugins import find, make
from dask_sluice.server.settings_schema import Authenticator, Backend
from dask_sluice.server.startup import CannotStart


class Queue:
    """Somebody's backend."""

    def __init__(self, partition: str, *, account: str = "") -> None:
        if partition == "closed":
            raise ValueError("the partition 'closed' takes no jobs")
        self.partition, self.account = partition, account


NOT_CALLABLE = 7


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lokal", ["backend.kind: there is no backend 'lokal'", "Did you mean 'local'?", "Known: fake, local"]),
        ("no.where:Backend", ["cannot import 'no.where:Backend'", "ModuleNotFoundError", "PYTHONPATH"]),
        (f"{__name__}:Qeue", ["cannot import", "has no attribute 'Qeue'"]),
        (f"{__name__}:NOT_CALLABLE", ["is no function or class"]),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_the_nearest(name: str, words: list[str]) -> None:
    with pytest.raises(CannotStart) as caught:
        find("backend.kind", name, GROUP)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partitoin": "short"}, ["backend.settings: ", "Did you mean 'partition'?", "it takes partition, account"]),
        ({}, ["missing a required argument: 'partition'"]),
        ({"partition": "closed"}, ["backend.settings: the partition 'closed' takes no jobs"]),
    ],
)
def test_settings_that_it_does_not_take_are_told_with_those_that_it_takes(
    settings: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(CannotStart) as caught:
        make("backend", Queue, settings)
    for word in words:
        assert word in str(caught.value)


def test_a_backend_and_an_authenticator_of_ones_own_are_checked_alike(tmp_path: Path) -> None:
    wrong = {"kind": f"{__name__}:Queue", "settings": {"partitoin": "short"}}
    with pytest.raises(CannotStart, match=r"backend\.settings: .*Did you mean 'partition'"):
        make_backend(Backend.model_validate(wrong), directories(tmp_path))
    with pytest.raises(CannotStart, match=r"authenticator\.settings: .*Did you mean 'partition'"):
        make_authenticator(Authenticator.model_validate(wrong))
    right = {"kind": f"{__name__}:Queue", "settings": {"partition": "short"}}
    assert make_backend(Backend.model_validate(right), directories(tmp_path)).partition == "short"  # type: ignore[attr-defined]
