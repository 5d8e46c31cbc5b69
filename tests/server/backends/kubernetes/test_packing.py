"""Parts of a node: exactly as many pods fit as the share says, by the requests that stand in their manifests.

The numbers are those of a site that keeps such a table by hand (deployments.md, b.2 and d.12): workers of 1, 2, 4, 8
and 16 cores on a node of sixteen of which 15.4 are left for them, an equal part of the memory each.
"""

from __future__ import annotations

from fractions import Fraction
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes.pods import resources
from dask_sluice.server.backends.kubernetes.syntax import is_quantity
from dask_sluice.server.merging import Layer, merge
from dask_sluice.server.policy.layers import sized
from dask_sluice.server.policy.sizes import size_of
from dask_sluice.server.settings_policy import Node

from .cases import Case, job_of, made, settings_of

GIB = 2**30
TABLE = {16: (1, "0.9"), 8: (2, "1.9"), 4: (4, "3.8"), 2: (8, "7.7"), 1: (16, "15.4")}
"""Workers on a node: cores of each, and what is set aside for it, to the tenth."""


def worker(parts: int, node: str = "cores: 16, memory: 128 GiB, reserved_cores: 0.6, reserved_memory: 6.5 GiB") -> Any:
    site = dedent(
        f"""
        backend: {{kind: kubernetes, kubernetes: {{image: "x/y:1"}}}}
        policy: {{nodes: {{big: {{{node}}}}}}}
        profiles: {{part: {{worker: {{node: big, share: 1/{parts}}}}}}}
        """
    )
    pod, _ = made(Case(site, options={"profile": "part"}))
    return pod["spec"]["containers"][0]


def millicores(amount: str) -> int:
    assert is_quantity(amount)
    assert amount.endswith("m")
    return int(amount.removesuffix("m"))


def fit(requests: dict[str, str], left_millicores: int, left_bytes: int) -> int:
    """How many a scheduler of Kubernetes puts on a node that has so much left."""
    return min(left_millicores // millicores(requests["cpu"]), left_bytes // int(requests["memory"]))


@pytest.mark.parametrize("parts", TABLE)
def test_the_parts_of_a_node_come_to_the_table_that_is_kept_by_hand(parts: int) -> None:
    cores, tenths = TABLE[parts]
    found = worker(parts)["resources"]
    assert found["limits"]["cpu"] == f"{1000 * cores}m"
    assert millicores(found["requests"]["cpu"]) // 100 == int(Fraction(tenths) * 10)
    assert found["requests"]["memory"] == found["limits"]["memory"] == str(int(121.5 * GIB) // parts)


@pytest.mark.parametrize("parts", TABLE)
def test_exactly_so_many_workers_fit_on_the_node(parts: int) -> None:
    assert fit(worker(parts)["resources"]["requests"], 15_400, int(121.5 * GIB)) == parts


def test_different_parts_fill_a_node_together() -> None:
    requests = [worker(parts)["resources"]["requests"] for parts in (2, 4, 8, 8)]
    assert sum(millicores(each["cpu"]) for each in requests) <= 15_400
    assert sum(int(each["memory"]) for each in requests) <= 121.5 * GIB


def test_two_workers_fit_where_rounding_to_tenths_left_room_for_one() -> None:
    """7.745 cores became 7.8, and two of them did not fit in 15.49."""
    requests = worker(2, "cores: 16, memory: 64 GiB, reserved_cores: 0.51")["resources"]["requests"]
    assert requests["cpu"] == "7745m"
    assert fit(requests, 15_490, 64 * GIB) == 2


@given(
    parts=st.integers(1, 40),
    cores=st.integers(2, 256),
    reserved=st.integers(0, 1900).map(lambda thousandths: thousandths / 1000),
    memory=st.integers(4, 2048),
)
def test_exactly_as_many_fit_as_the_share_says_on_any_node(
    parts: int, cores: int, reserved: float, memory: int
) -> None:
    node = Node(cores=cores, memory=f"{memory} GiB", reserved_cores=reserved, reserved_memory="1 GiB")
    part = sized({"node": "big", "share": f"1/{parts}"}, {"big": node})
    requests = resources(size_of(merge([Layer("profile", {"worker": part})]), "worker"), "gpu")["requests"]
    left = 1000 * cores - round(1000 * reserved)
    assert fit(requests, left, (memory - 1) * GIB) == parts


def test_threads_are_those_of_the_limit_not_of_what_is_set_aside() -> None:
    """Half of a node of sixteen runs eight tasks, though 7.7 cores are set aside for it (d.10)."""
    site = """
        backend: {kind: kubernetes, kubernetes: {image: "x/y:1"}}
        profiles: {half: {worker: {cores: 8, cores_request: 7.7, memory: 60G}}}
        """
    assert job_of(settings_of(site), Case(site, options={"profile": "half"})).size.threads == 8
