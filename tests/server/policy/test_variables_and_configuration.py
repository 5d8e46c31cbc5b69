"""Variables and Dask's configuration: always there to choose, within the administrator's rules."""

from __future__ import annotations

from typing import Any

import pytest

from dask_sluice.server.settings_file import SettingsError
from dask_sluice.wire.errors import OptionInvalid, ServerError

from .sites import resolved, resolved_by_hook, site, sources

SPILL = "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL"
PAUSE = "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE"
HALF = {"dask_config": {"distributed.worker.memory.spill": 0.5}}


def test_users_set_both_where_the_administrator_said_nothing() -> None:
    result = resolved("", {"variables": {"FOO": "bar"}, **HALF})
    assert (result.spec.variables, result.secret_variables) == ({SPILL: "0.5"}, {"FOO": "bar"})
    assert sources(result)[f"variables.{SPILL}"] == "option dask_config"


def test_values_of_variables_are_shown_to_nobody_unless_the_administrator_says_so() -> None:
    given = {"variables": {"FOO": "hunter2"}}
    hidden = resolved("", given)
    assert "hunter2" not in f"{hidden.spec} {hidden.plan}"
    assert resolved("options: {variables: {secret: false}}", given).spec.variables == {"FOO": "hunter2"}


def test_they_merge_key_by_key_with_what_the_administrator_says() -> None:
    result = resolved(
        """
        policy:
          defaults:
            dask_config: {distributed: {worker: {memory: {spill: 0.7, pause: 0.8}}}}
          everyone:
            dask_config: {distributed.scheduler.allowed-failures: 20}
        """,
        {"dask_config": {"distributed.worker.memory.spill": 0.5, "distributed.scheduler.allowed-failures": 99}},
    )
    assert result.spec.variables == {
        SPILL: "0.5",
        PAUSE: "0.8",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
    }
    assert sources(result)[f"variables.{PAUSE}"] == "policy.defaults"


def test_a_variable_goes_before_configuration_said_beside_it() -> None:
    text = (
        f"policy: {{defaults: {{dask_config: {{distributed.worker.memory.spill: 0.5}}, variables: {{{SPILL}: 0.6}}}}}}"
    )
    assert resolved(text).spec.variables == {SPILL: "0.6"}


def test_null_is_a_value_of_configuration_and_takes_a_variable_away() -> None:
    text = "policy: {defaults: {variables: {FOO: bar}}}"
    result = resolved(text, {"variables": {"FOO": None}, "dask_config": {"distributed.worker.lifetime.duration": None}})
    assert result.spec.variables == {"DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": "None"}


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [("denied: ['DASK_*']", False), ("allowed: ['GDAL_*']", False), ("allowed: ['DASK_DISTRIBUTED__WORKER__*']", True)],
)
def test_rules_for_variables_bind_configuration_too(rules: str, allowed: bool) -> None:
    text = f"policy: {{variables: {{{rules}}}}}"
    if allowed:
        assert resolved(text, HALF).spec.variables == {SPILL: "0.5"}
        return
    with pytest.raises(OptionInvalid, match=f"dask_config has a variable '{SPILL}'") as raised:
        resolved(text, HALF)
    assert raised.value.details["source"] == "option dask_config"


def test_keys_that_a_user_brings_into_the_administrators_mapping_are_the_users() -> None:
    text = """
        options:
          memory: {type: mapping, sets: {dask_config: {distributed.worker.memory: "{options.memory}"}}}
        policy: {variables: {denied: ["*__PAUSE"]}}
    """
    assert resolved(text, {"memory": {"spill": 0.5}}).spec.variables == {SPILL: "0.5"}
    with pytest.raises(OptionInvalid, match="memory has a variable"):
        resolved(text, {"memory": {"pause": 0.5}})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dask_config": {"Distributed": 1}}, "has a key 'Distributed'"),
        ({"dask_config": {"a.b": 1, "a": {"b": 2}}}, "says 'a.b' twice"),
        ({"dask_config": "spill"}, "must be a mapping"),
        ({"variables": {"LD_PRELOAD": "/x.so"}}, "LD_[*] must not be set"),
        ({"variables": {"FOO": [1]}}, "must be texts"),
    ],
)
def test_what_cannot_be_is_refused_with_the_option_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionInvalid, match=told) as raised:
        resolved("", given)
    assert raised.value.details["option"] == next(iter(given))


def test_a_template_of_variables_must_be_a_mapping() -> None:
    with pytest.raises(OptionInvalid, match="variables must be a mapping"):
        resolved("options: {x: {type: string, default: a, sets: {variables: '{options.x}'}}}", {"x": "b"})


@pytest.mark.parametrize("option", ["variables", "dask_config"])
def test_the_administrator_can_take_them_away(option: str) -> None:
    with pytest.raises(OptionInvalid, match="Unknown fields"):
        resolved(f"options: {{{option}: {{enabled: false}}}}", {option: {"a": "b"}})


def test_a_wrong_key_in_the_settings_is_refused_with_its_line() -> None:
    with pytest.raises(SettingsError, match=r"sluice.yaml, line 4: policy.defaults.dask_config: has a key 'Spill'"):
        site("policy:\n  defaults:\n    dask_config: {Spill: 1}\n")


async def test_a_hook_gives_configuration_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from . import site_hooks

    monkeypatch.setattr(site_hooks, "configure", lambda options: HALF, raising=False)
    result = await resolved_by_hook(f"policy: {{hook: {site_hooks.__name__}:configure}}")
    assert result.spec.variables == {SPILL: "0.5"}


async def test_a_hook_that_gives_wrong_configuration_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from . import site_hooks

    monkeypatch.setattr(site_hooks, "configure", lambda options: {"dask_config": {"A": 1}}, raising=False)
    with pytest.raises(ServerError, match=r"policy\.hook.*has a key 'A'"):
        await resolved_by_hook(f"policy: {{hook: {site_hooks.__name__}:configure}}")
