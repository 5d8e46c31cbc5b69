"""The examples of docs/policy.md are configurations, and do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.amounts import GIB
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.resolve import Resolved
from dask_sluice.server.settings_file import loads

PAGE = Path(__file__).parents[3] / "docs" / "policy.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
ADA, GRACE = Caller("ada", groups=("ice",)), Caller("grace")


def gets(block: int, given: dict[str, Any], caller: Caller = ADA) -> Resolved:
    policy = Policy.of(loads(BLOCKS[block], Path("sluice.yaml")), None)
    offered = policy.offer(caller)
    return policy.settle(caller, "cluster", offered, offered.choose(given))


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_every_example_is_a_configuration_with_which_clusters_start(block: int) -> None:
    for caller in (ADA, GRACE):
        assert gets(block, {}, caller).spec.owner == caller.name


def test_the_options_do_what_the_page_says() -> None:
    result = gets(0, {"minutes": 10, "gpu": True, "variables": {"A": "1"}, "token": "s3cret"})
    spec = result.spec
    assert (spec.lease.idle_s, spec.worker.gpus, spec.worker.cores) == (600.0, 1, 2.0)
    assert (dict(spec.variables), dict(result.secret_variables)) == ({}, {"A": "1", "DATA_TOKEN": "s3cret"})


def test_the_profiles_do_what_the_page_says() -> None:
    assert gets(1, {}).spec.profile == "small"
    large = gets(1, {"profile": "large"}).spec
    assert (large.worker.threads, large.worker.cores_request, large.max_workers) == (8, 7.5, 20)
    packed = gets(1, {"profile": "packed"}).spec.worker
    assert 16 * packed.cores_request <= 63
    assert 16 * packed.memory_bytes <= 500 * GIB


def test_what_is_set_aside_goes_by_what_was_chosen_as_the_page_says() -> None:
    for given, memory in (({}, 8), ({"worker_memory": 4}, 4)):
        worker = gets(2, given).spec.worker
        assert (worker.memory_bytes, worker.memory_request_bytes) == (memory * GIB, 0.75 * memory * GIB)


def test_the_layers_do_what_the_page_says() -> None:
    result = gets(3, {"variables": {"GDAL_DISABLE_READDIR_ON_OPEN": "NO", "OWNER": "me"}})
    assert result.spec.variables == {"OWNER": "ada", "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "0.6"}
    assert result.secret_variables == {"GDAL_DISABLE_READDIR_ON_OPEN": "NO"}
    assert (result.spec.lease.idle_s, result.spec.max_workers) == (7200.0, 100)
