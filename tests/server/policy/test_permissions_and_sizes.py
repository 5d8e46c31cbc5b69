"""Who may do what, and what a user gets for their options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.amounts import GIB
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Action, Machine, Policy, check, cluster_name, may
from dask_sluice.server.settings_policy import OptionSettings
from dask_sluice.wire.errors import ClusterNotFound, OptionInvalid
from dask_sluice.wire.names import server_name

from ..records import record_of

ADA, GRACE, ROOT = Caller("ada"), Caller("grace"), Caller("root", is_admin=True)
RECORD = record_of("ada-1")


@pytest.mark.parametrize("action", Action)
def test_owners_may_do_everything_and_strangers_nothing(action: Action) -> None:
    assert may(ADA, action, RECORD)
    assert not may(GRACE, action, RECORD)


def test_administrators_may_steer_but_not_run_code_as_somebody() -> None:
    assert [action for action in Action if not may(ROOT, action, RECORD)] == [Action.CONNECT]


def test_a_strangers_cluster_looks_like_none() -> None:
    with pytest.raises(ClusterNotFound, match="no cluster named 'ada-1'"):
        check(GRACE, Action.SEE, RECORD)


def test_a_worker_gets_what_was_asked_for() -> None:
    spec = Policy().resolve(ADA, "ada-1", {"worker_cores": 2, "worker_memory": 4})
    assert (spec.worker.cores, spec.worker.memory_bytes, spec.worker.threads) == (2.0, 4 * GIB, 2)
    assert spec.owner == "ada"
    assert dict(spec.options) == {
        "worker_cores": 2.0,
        "worker_memory": 4.0,
        "worker_threads": 0,
        "environment": "",
        "variables": {},
        "dask_config": {},
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"worker_core": 2}, "worker_cores"),
        ({"worker_cores": 3}, "<= 2"),
        ({"worker_memory": 4.5}, "<= 4"),
        ({"worker_memory": "8 GB"}, "a number"),
        ({"worker_cores": True}, "a number"),
        ({"worker_threads": -1}, ">= 0"),
        ({"environment": "envs/mine"}, "absolute"),
        ({"environment": "/envs/../etc"}, "absolute"),
    ],
)
def test_what_cannot_be_is_refused_naming_option_and_bound(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionInvalid, match=words) as raised:
        Policy(machine=Machine(cores=2, memory_bytes=4 * GIB)).resolve(ADA, "ada-1", options)
    assert raised.value.option in options


def test_defaults_fit_a_small_machine() -> None:
    spec = Policy(machine=Machine(cores=1, memory_bytes=GIB)).resolve(ADA, "ada-1", {})
    assert spec.worker.memory_bytes == GIB
    assert spec.max_workers == 16


def test_an_administrator_may_allow_some_environments_only() -> None:
    policy = Policy({"environment": OptionSettings(default="/opt/base", allowed=("/opt/envs/*",))})
    assert policy.resolve(ADA, "a", {}).environment == "/opt/base"
    assert policy.resolve(ADA, "a", {"environment": "/opt/envs/one"}).environment == "/opt/envs/one"
    for path in ("/opt/envs/one/two", "/home/ada/env", ""):
        if path:
            with pytest.raises(OptionInvalid, match="/opt/envs"):
                policy.resolve(ADA, "a", {"environment": path})


@given(st.text(max_size=80))
def test_every_owner_gets_a_name_that_dns_and_tls_accept(owner: str) -> None:
    name = cluster_name(owner, "0123abcd")
    assert len(server_name(name)) <= 63
    assert name[0].isalpha()
    assert name.isascii()
    assert all(part.isalnum() for part in name.split("-"))
