"""From options to a spec: who goes before whom, who sees what, and what is never shown."""

from __future__ import annotations

import pickle
from fractions import Fraction
from textwrap import dedent
from typing import Any

import pytest

from dask_sluice.server.amounts import GIB
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.options import Machine
from dask_sluice.wire.errors import OptionInvalid, PermissionDenied, RequestInvalid
from dask_sluice.wire.options import MASK, OptionType

from .sites import ADA, GRACE, resolved, site, sources

ORDER = """
    options:
      tier: {choices: [low, high], when: {low: {idle_s: 2}, high: {idle_s: 4}}}
    profiles:
      plain: {}
      timed: {idle_s: 3}
    policy:
      defaults: {idle_s: 1}
"""


@pytest.mark.parametrize(
    ("more", "given", "idle_s", "source"),
    [
        ("", {}, 2, "option tier (default)"),
        ("", {"profile": "timed"}, 3, "profile timed"),
        ("", {"profile": "timed", "tier": "low"}, 3, "profile timed"),
        ("", {"profile": "timed", "tier": "high"}, 4, "option tier"),
        ("  everyone: {idle_s: 5}", {"tier": "high"}, 5, "policy.everyone"),
        ("  groups: {ice: {idle_s: 6}, sea: {idle_s: 7}}", {"tier": "high"}, 6, "policy.groups.ice"),
        ("  groups: {ice: {idle_s: 6}}\n  users: {ada: {idle_s: 8}}", {}, 8, "policy.users.ada"),
    ],
)
def test_each_layer_goes_before_those_below_it(more: str, given: dict[str, Any], idle_s: float, source: str) -> None:
    result = resolved(dedent(ORDER) + more, given)
    assert result.spec.lease.idle_s == idle_s
    assert sources(result)["idle_s"] == source


def test_without_settings_it_is_as_ever() -> None:
    spec = resolved("", {"worker_cores": 2, "worker_memory": 4}).spec
    assert (spec.worker.cores, spec.worker.memory_bytes, spec.worker.threads) == (2.0, 4 * GIB, 2)
    assert (spec.image, spec.variables, spec.backend, spec.profile) == ("", {}, {}, "")


def test_a_default_of_the_site_goes_before_a_built_in_one_but_not_before_a_choice() -> None:
    text = "profiles: {any: {}}\npolicy: {defaults: {worker: {cores: 3, memory: 9 GiB}, environment: /opt/base}}"
    spec = resolved(text).spec
    assert (spec.worker.cores, spec.worker.memory_bytes, spec.environment) == (3.0, 9 * GIB, "/opt/base")
    assert resolved(text, {"environment": "/opt/mine"}).spec.environment == "/opt/mine"


def test_profiles_take_the_place_of_the_size_options_unless_those_are_named() -> None:
    profiles = "profiles: {small: {worker: {cores: 1}}, large: {worker: {cores: 8, memory: 32 G}}}\n"
    names = [option.name for option in Policy.of(site(profiles), None).options(ADA)]
    assert names == ["profile", "environment", "variables", "dask_config"]
    with pytest.raises(OptionInvalid, match="Known: profile, environment, variables, dask_config"):
        resolved(profiles, {"worker_cores": 2})
    named = profiles + "options: {worker_cores: {maximum: 16}}"
    assert resolved(named, {"profile": "large"}).spec.worker.cores == 8.0
    result = resolved(named, {"profile": "large", "worker_cores": 12})
    assert (result.spec.worker.cores, result.spec.worker.memory_bytes) == (12.0, 32 * GIB)
    assert result.spec.profile == "large"


def test_a_user_sees_the_profiles_that_are_open_to_them() -> None:
    text = """
        profiles:
          small: {label: Small, help: for a first look}
          gpu: {groups: [ice], worker: {gpus: 1}}
          mine: {users: [grace]}
        policy: {default_profile: gpu}
    """
    policy = Policy.of(site(text), None)
    ada, grace = policy.options(ADA)[0], policy.options(GRACE)[0]
    assert (ada.choices, ada.default, ada.type) == (("small", "gpu"), "gpu", OptionType.SELECT)
    assert (grace.choices, grace.default) == (("small", "mine"), "small")
    assert "small: Small, for a first look" in ada.help
    assert resolved(text).spec.worker.gpus == 1
    with pytest.raises(OptionInvalid, match="profile must be one of"):
        resolved(text, {"profile": "gpu"}, GRACE)


def test_whom_no_profile_is_open_to_may_start_nothing() -> None:
    text = "profiles: {only: {groups: [ice]}}"
    assert resolved(text).spec.profile == "only"
    with pytest.raises(PermissionDenied, match="no profile is open to you"):
        resolved(text, {}, GRACE)
    assert [option.name for option in Policy.of(site(text), None).options(GRACE)][:1] == ["environment"]


def test_an_option_may_be_for_a_group_and_its_default_counts_for_the_others() -> None:
    text = """
        options:
          queue: {choices: [short, long], default: short, groups: [ice],
                  when: {short: {backend: {queue: s}}, long: {backend: {queue: l}}}}
    """
    assert resolved(text, {"queue": "long"}).spec.backend == {"queue": "l"}
    assert resolved(text, {}, GRACE).spec.backend == {"queue": "s"}
    assert "queue" not in resolved(text, {}, GRACE).spec.options
    with pytest.raises(OptionInvalid, match="Unknown fields"):
        resolved(text, {"queue": "long"}, GRACE)


def test_choices_and_patterns_may_be_the_users_own() -> None:
    text = """
        options:
          project: {choices: ["{user.name}", "{user.group}"], sets: {backend: {project: "{options.project}"}}}
          environment: {allowed: ["/envs/{user.name}/*", "/envs/{user.group}/*"]}
    """
    assert Policy.of(site(text), None).options(ADA)[-1].choices == ("ada", "ice", "sea")
    assert resolved(text, {"project": "sea"}).spec.backend == {"project": "sea"}
    assert resolved(text, {"environment": "/envs/ice/one"}).spec.environment == "/envs/ice/one"
    with pytest.raises(OptionInvalid, match="/envs/grace/"):
        resolved(text, {"environment": "/envs/ice/one"}, GRACE)


def test_requests_and_limits_are_apart_and_threads_go_by_the_limit() -> None:
    text = "profiles: {p: {worker: {cores: 16, cores_request: 15.445, memory: 120 G, memory_request: 100 G}}}"
    worker = resolved(text).spec.worker
    assert (worker.cores, worker.cores_request, worker.threads) == (16.0, 15.445, 16)
    assert (worker.memory_bytes, worker.memory_request_bytes) == (120 * GIB, 100 * GIB)
    with pytest.raises(RequestInvalid, match=r"cores_request is above worker.cores, which is 1 \(from p"):
        resolved("profiles: {p: {worker: {cores: 1, cores_request: '{1 + 1}'}}}")
    text = "policy: {everyone: {worker: {memory_request: 4G}}}"
    told = r"memory_request is above worker.memory, which is 3 GiB \(from option worker_memory\): it is 4 GiB \(from p"
    with pytest.raises(RequestInvalid, match=told):
        resolved(text, {"worker_memory": 3})


@pytest.mark.parametrize("given", [{}, {"worker_memory": 4}, {"worker_memory": 0.25}])
def test_what_is_set_aside_follows_the_memory_that_a_user_chooses(given: dict[str, Any]) -> None:
    """`sets` of a built-in option is laid over what the option does anyway."""
    text = """
        options:
          worker_memory: {default: 8, sets: {worker: {memory_request: "{0.75 * options.worker_memory} GiB"}}}
    """
    worker, chosen = resolved(text, given).spec.worker, given.get("worker_memory", 8)
    assert (worker.memory_bytes, worker.memory_request_bytes) == (chosen * GIB, 0.75 * chosen * GIB)


def test_a_new_size_takes_back_what_was_set_aside_for_the_old_one() -> None:
    text = "profiles: {p: {worker: {cores: 16, cores_request: 15}}}\noptions: {worker_cores: {}}"
    worker = resolved(text, {"worker_cores": 2}).spec.worker
    assert (worker.cores, worker.cores_request) == (2.0, 0)


@pytest.mark.parametrize("share", ["1/16", "1/3", "0.3", "1"])
def test_as_many_parts_of_a_node_as_the_share_says_fit_on_it(share: str) -> None:
    text = f"""
        profiles: {{part: {{worker: {{node: big, share: '{share}'}}}}}}
        policy:
          nodes: {{big: {{cores: 16, memory: 128 GiB, reserved_cores: 0.51, reserved_memory: 3.3 GiB}}}}
    """
    worker, count = resolved(text).spec.worker, int(1 / Fraction(share))
    assert round(worker.cores_request * 1000) * count <= 15490
    assert worker.memory_bytes * count <= 128 * GIB - int(3.3 * GIB)
    assert worker.cores == pytest.approx(16 * float(Fraction(share)))
    assert worker.cores_request > 0.99 * 15.49 / count * (1 if Fraction(share).numerator == 1 else 0.9)


def test_templates_fill_in_the_user_and_the_options() -> None:
    text = """
        options:
          minutes: {type: int, default: 30, minimum: 0, sets: {idle_s: "{options.minutes * 60}"}}
        policy:
          everyone:
            variables: {OWNER: "{user.name}", ALL: "{user.groups}", CLUSTER: "{cluster.name}"}
            backend: {labels: {"example.org/user": "{user.escaped}"}}
    """
    spec = resolved(text, {"minutes": 5}, Caller("Ada@x")).spec
    assert spec.lease.idle_s == 300
    assert spec.variables == {"OWNER": "Ada@x", "ALL": "", "CLUSTER": "Ada@x-1"}
    assert spec.backend == {"labels": {"example.org/user": "u--41da-40x"}}


def test_a_users_variables_lie_over_the_sites_and_are_checked_by_name() -> None:
    text = """
        options: {env: {type: mapping, sets: {variables: "{options.env}"}}}
        policy:
          defaults: {variables: {GDAL: "512", LEVEL: info}}
          everyone: {variables: {OWNER: "{user.name}"}}
          variables: {denied: ["AWS_*"]}
    """
    spec = resolved(text, {"env": {"LEVEL": "debug", "N": 3, "ON": True, "OWNER": "me"}}).spec
    assert spec.variables == {"GDAL": "512", "LEVEL": "debug", "N": "3", "ON": "true", "OWNER": "ada"}
    for name in ("LD_PRELOAD", "SLUICE_LAUNCH", "AWS_KEY"):
        with pytest.raises(OptionInvalid, match="env has a variable") as caught:
            resolved(text, {"env": {name: "1"}})
        assert caught.value.option == "env"
    with pytest.raises(OptionInvalid, match="variable A must be text"):
        resolved(text, {"env": {"A": [1]}})


def test_variables_that_none_can_be_called_are_left_out_with_a_word_and_the_rest_is_set() -> None:
    """People send their whole environment, with functions that their shell has exported."""
    text = 'options: {env: {type: mapping, sets: {variables: "{options.env}"}}}'
    given = {"GOOD": "1", "BASH_FUNC_module%%": "() { eval; }", "A B": "2", "1ST": "3"}
    found = resolved(text, {"env": given})
    assert found.spec.variables == {"GOOD": "1"}
    assert found.spec.left_out == ("1ST", "A B", "BASH_FUNC_module%%")
    (note,) = (note for note in found.plan.notes if "variables" in note)
    assert "none can be called so: '1ST', 'A B', 'BASH_FUNC_module%%'" in note
    assert not any("BASH_FUNC" in value.key for value in found.plan.values)


def test_an_image_of_a_user_is_checked() -> None:
    text = """
        options: {image: {type: string, default: "host:5000/dask:1", sets: {image: "{options.image}"}}}
        policy: {images: {allowed: ["host:5000/*"]}}
    """
    assert resolved(text).spec.image == "host:5000/dask:1"
    for image, words in (("host:5000/dask", "tag or digest"), ("evil/dask:1", "must be one of host:5000/")):
        with pytest.raises(OptionInvalid, match=words) as caught:
            resolved(text, {"image": image})
        assert caught.value.option == "image"


SECRET = """
    options:
      token: {type: string, secret: true, sets: {variables: {TOKEN: "Bearer {options.token}"}}}
      keys: {type: mapping, secret: true, sets: {variables: "{options.keys}"}}
    policy: {defaults: {secret_variables: {SITE: hush}}}
"""


def test_a_secret_is_in_the_job_and_nowhere_else() -> None:
    result = resolved(SECRET, {"token": "s3cret", "keys": {"AWS": "k3y"}})
    assert result.secret_variables == {"TOKEN": "Bearer s3cret", "AWS": "k3y", "SITE": "hush"}
    assert result.spec.options["token"] == result.spec.options["keys"] == MASK
    kept = repr(result.spec) + repr(result.plan) + pickle.dumps(result.spec).decode("latin-1")
    for secret in ("s3cret", "k3y", "hush"):
        assert secret not in kept
    assert result.plan.variables == {"TOKEN": MASK, "AWS": MASK, "SITE": MASK}
    assert resolved(SECRET).spec.options["token"] == ""


@pytest.mark.parametrize(
    "given", [{"token": 7}, {"token": ["s3cret"]}, {"keys": "s3cret"}, {"keys": {"A": ["s3cret"]}}]
)
def test_a_wrong_secret_is_refused_without_repeating_it(given: dict[str, Any]) -> None:
    with pytest.raises(OptionInvalid) as caught:
        resolved(SECRET, given)
    assert "s3cret" not in str(caught.value)


def test_a_profile_cannot_go_beyond_the_limits_and_that_is_said() -> None:
    text = "profiles: {p: {max_workers: 50}}\nlimits: {cluster: {workers: 10}}"
    result = resolved(text)
    assert result.spec.max_workers == 10
    assert "max_workers is 10, not 50: the limit is 10 workers (limits.cluster.workers)" in result.plan.notes
    assert resolved(text.replace("50", "5")).spec.max_workers == 5


def test_a_user_may_choose_within_the_administrators_range() -> None:
    text = "options: {most: {type: int, default: 4, minimum: 1, maximum: 20, sets: {max_workers: '{options.most}'}}}"
    assert resolved(text, {"most": 20}).spec.max_workers == 20
    with pytest.raises(OptionInvalid, match="most must be <= 20"):
        resolved(text, {"most": 21})


def test_what_a_template_came_to_is_checked_and_its_source_named() -> None:
    text = "options: {mem: {type: string, default: 2 G, sets: {worker: {memory: '{options.mem}'}}}}"
    assert resolved(text, {"mem": "22.5 G"}).spec.worker.memory_bytes == int(22.5 * GIB)
    with pytest.raises(RequestInvalid, match=r"worker.memory must be memory .* got 'lots' \(from option mem\)"):
        resolved(text, {"mem": "lots"})


def test_sizes_are_bounded_by_the_one_machine_there_is() -> None:
    policy = Policy.of(site(""), Machine(cores=2, memory_bytes=4 * GIB))
    bounds = {option.name: option.maximum for option in policy.options(ADA)}
    assert (bounds["worker_cores"], bounds["worker_memory"]) == (2.0, 4.0)


def test_every_value_of_a_plan_has_a_source() -> None:
    result = resolved(SECRET, {"token": "s3cret", "worker_cores": 4})
    assert all(value.source for value in result.plan.values)
    assert sources(result) == {
        "worker.cores": "option worker_cores",
        "worker.memory": "built in",
        "worker.threads": "one for each whole core of worker.cores",
        "scheduler.cores": "built in",
        "scheduler.memory": "built in",
        "scheduler.threads": "built in",
        "environment": "built in",
        "max_workers": "256 workers (limits.cluster.workers, by the size of this machine)",
        "idle_s": "leases.idle",
        "age_s": "leases.age",
        "scheduler_start_s": "timeouts",
        "worker_start_s": "timeouts",
        "variables.SITE": "policy.defaults",
        "variables.TOKEN": "option token",
    }


def test_a_built_in_options_name_can_stand_for_something_else() -> None:
    text = """
        options:
          environment: {type: mapping, sets: {variables: "{options.environment}"}}
          worker_cores: {type: int, default: 2, maximum: 4, sets: {worker: {cores: "{options.worker_cores}"}}}
    """
    spec = resolved(dedent(text), {"environment": {"A": "1"}}).spec
    assert (dict(spec.variables), spec.environment, spec.worker.cores) == ({"A": "1"}, "", 2)
    with pytest.raises(OptionInvalid, match="worker_cores must be <= 4"):
        resolved(dedent(text), {"worker_cores": 5})
