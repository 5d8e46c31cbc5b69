"""Whatever a file or a user says: an answer, or a sentence that says what is wrong. Never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy, Resolved
from dask_sluice.server.settings import load
from dask_sluice.server.settings_file import SettingsError, loads
from dask_sluice.wire.errors import SluiceError

from .test_handlers import FAMILIES, HANDLERS

POLICIES = {family: Policy.of(load(HANDLERS / f"{family}.yaml"), None) for family in FAMILIES}
NAMES = sorted({option.name for policy in POLICIES.values() for option in policy.options(Caller("ada"))})
TEXTS = st.sampled_from(
    ["", "{user.name}", "{options.x}", "{options.x * 2} GiB", "2 G", "true", "a/b:1", "{", "/e", "1/2"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["A", "LD_X", "append"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PROCESS = st.dictionaries(
    st.sampled_from(["cores", "cores_request", "memory", "memory_request", "threads", "gpus", "node", "share"]), VALUES
)
SETUP = st.fixed_dictionaries(
    {},
    optional={
        "worker": PROCESS,
        "scheduler": PROCESS,
        "image": VALUES,
        "environment": VALUES,
        "variables": VALUES,
        "secret_variables": VALUES,
        "max_workers": VALUES,
        "idle_s": VALUES,
        "backend": VALUES,
    },
)
OPTION = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["int", "float", "bool", "string", "choice", "mapping", "what"]),
        "default": VALUES,
        "minimum": VALUES,
        "choices": VALUES,
        "allowed": VALUES,
        "secret": st.booleans(),
        "hidden": st.booleans(),
        "sets": SETUP,
        "when": st.dictionaries(st.sampled_from(["true", "false", "a"]), SETUP, max_size=2),
    },
)


def resolve(policy: Policy, options: dict[str, Any]) -> Resolved | None:
    caller = Caller("ada", groups=("ice",))
    try:
        offered = policy.offer(caller)
        return policy.settle(caller, "ada-1", offered, offered.choose(options))
    except SluiceError as error:
        assert error.status in (403, 422, 429)
        assert error.message
        return None


@given(st.sampled_from(FAMILIES), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_no_option_of_a_user_does_anything_but_count_or_be_refused(family: str, options: dict[str, Any]) -> None:
    if (result := resolve(POLICIES[family], options)) is not None:
        assert all(isinstance(value, str) for value in result.spec.variables.values())
        assert not any(name.startswith("LD_") for name in result.spec.variables)


@given(
    st.fixed_dictionaries(
        {"options": st.dictionaries(st.sampled_from(["x", "y", "worker_cores"]), OPTION, max_size=2)},
        optional={
            "profiles": st.dictionaries(st.sampled_from(["p", "q"]), SETUP, max_size=2),
            "policy": st.fixed_dictionaries({}, optional={"defaults": SETUP, "everyone": SETUP}),
        },
    ),
    st.dictionaries(st.sampled_from(["x", "y", "worker_cores", "profile"]), VALUES, max_size=2),
)
def test_no_file_does_anything_but_count_or_be_refused(settings: dict[str, Any], options: dict[str, Any]) -> None:
    try:
        read = loads(json.dumps({"backend": {"kind": "fake"}, **settings}), Path("sluice.yaml"))
    except SettingsError as error:
        assert error.problems
        return
    resolve(Policy.of(read, None), options)


AMOUNTS = st.sampled_from(["1 GiB", "2 GiB", "3 GiB"])
SAID = st.fixed_dictionaries({}, optional={"memory": AMOUNTS, "memory_request": AMOUNTS})


@given(SAID, SAID, SAID, st.sampled_from([{}, {"worker_memory": 1}, {"worker_memory": 3}]))
def test_never_is_more_set_aside_than_may_be_used(
    profile: dict[str, str], everyone: dict[str, str], user: dict[str, str], chosen: dict[str, int]
) -> None:
    """Whoever says which of the two, on whatever layer."""
    policy = {"everyone": {"worker": everyone}, "users": {"ada": {"worker": user}}}
    said = {"profiles": {"p": {"worker": profile}}, "options": {"worker_memory": {}}, "policy": policy}
    try:
        read = loads(json.dumps({"backend": {"kind": "fake"}, **said}), Path("sluice.yaml"))
    except SettingsError:
        return
    if (result := resolve(Policy.of(read, None), chosen)) is not None:
        assert 0 <= result.spec.worker.memory_request_bytes <= result.spec.worker.memory_bytes


@given(st.text(min_size=1, max_size=20).filter(lambda text: len(text) > 5))
def test_no_secret_gets_out(secret: str) -> None:
    policy = POLICIES["rhodium"]
    for given_value in (secret, {"A": secret}, {secret: "x"}, [secret]):
        result = resolve(policy, {"gcsfuse_tokens": given_value})
        if result is not None and given_value == {"A": secret}:
            assert secret not in repr(result.spec.options["gcsfuse_tokens"])
            assert "A" not in result.spec.variables
            assert result.secret_variables["A"] == secret


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308, float("inf"), float("nan")])
def test_numbers_without_measure_are_refused_as_such(value: float) -> None:
    for family in FAMILIES:
        for option in POLICIES[family].options(Caller("ada")):
            resolve(POLICIES[family], {option.name: value})
