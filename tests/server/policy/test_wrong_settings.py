"""Mistakes that real sites lived with for months (deployments.md, section d), each refused with file, line and key."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dask_sluice.server.identity.names import escaped
from dask_sluice.server.model import Caller
from dask_sluice.server.settings_file import SettingsError, loads
from dask_sluice.server.settings_warnings import warnings

from .sites import FILE, resolved

OVERLAY = "backend: {kind: fake}\n"


def refused(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loads(dedent(text), FILE)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # d.1: right keys at the wrong place
        ("policy:\n  defaults:\n    cores: 2", 3, ["unknown key 'cores' in policy.defaults", "policy.defaults.worker"]),
        ("policy:\n  worker:\n    cores: 2", 2,
         ["unknown key 'worker' in policy", "It belongs under", "'policy.defaults'"]),
        ("scheduler: {cores: 2}", 1, ["unknown key 'scheduler'", "policy.defaults"]),
        ("options:\n  profiles: {small: {}}", 2, ["unknown key 'small' in options.profiles"]),
        ("profiles:\n  small:\n    cores: 2", 3, ["unknown key 'cores' in profiles.small"]),
        ("profiles:\n  p:\n    worker:\n      memry: 2G", 4, ["in profiles.p.worker", "Did you mean 'memory'?"]),
        ("dask-gateway: {gateway: {}}", 1, ["unknown key 'dask-gateway'"]),
        # d.2 and d.3: what the backend has no use for
        ("policy:\n  defaults:\n    backend: {node_selector: {}}", 3, ["'local' has no use for node_selector"]),
        ("profiles:\n  p:\n    image: a/b:1", 3, ["profiles.p.image", "'local' runs no container images"]),
        ("options:\n  i: {type: string, sets: {image: '{options.i}'}}", 2, ["options.i.sets.image", "no container"]),
        # d.3: names that lead nowhere
        ("policy: {default_profile: smal}\nprofiles: {small: {}}", 1, ["no profile 'smal'", "Did you mean 'small'?"]),
        ("options:\n  worker_core: {maximum: 4}", 2, ["no built-in option", "Did you mean 'worker_cores'?"]),
        ("policy:\n  defaults:\n    variables:\n      X: '{options.imag}'\noptions: {image: {type: string}}", 4,
         ["there is no {options.imag}", "Did you mean {options.image}?"]),
        ("policy:\n  everyone:\n    variables:\n      - X", 3,
         ["policy.everyone.variables: must be names with values"]),
        ("policy:\n  users:\n    ada: {variables: {X: '{user.nam}'}}", 3, ["Did you mean {user.name}?"]),
        ("policy:\n  users:\n    ada: {variables: {X: '{user.__class__}'}}", 3, ["braces may hold a name"]),
        ("policy:\n  users:\n    ada: {variables: {X: '{\"a\": 1}'}}", 3, ["a brace itself is written twice"]),
        ("policy:\n  hook: package.module", 2, ["must be an import path such as 'package.module:function'"]),
        ("policy:\n  hok: a:b", 2, ["Did you mean 'hook'?"]),
        # d.4: limits that are no numbers
        ("profiles:\n  p: {max_workers: 0}", 2, ["max_workers: must be a whole number, at least 1"]),
        ("profiles:\n  p: {max_workers: many}", 2, ["max_workers: must be a whole number", "got 'many'"]),
        # d.4: limits in a unit of one's own
        ("limits:\n  user: {memory: 600G}", 2, ["limits.user.memory: must be a number of GiB", "write 600 instead of"]),
        ("limits:\n  site: {memory: 600000000000}", 2, ["a number of GiB", "write 558.794 instead of"]),
        ("limits:\n  cluster: {memory: much}", 2, ["must be a number of GiB, without a unit; got 'much'"]),
        ("limits:\n  max_workers: 3", 2, ["unknown key 'max_workers' in limits", "cluster, user, group, site"]),
        ("limits:\n  workers: 3", 2, ["unknown key 'workers' in limits", "belongs under 'limits.cluster'"]),
        # d.9: the same thing twice
        ("options: {a: {type: int, default: 1}}\noptions: {b: {type: int, default: 1}}", 2,
         ["'options' is given twice"]),
        ("options:\n  a: {type: int, default: 1}\n  a: {type: int, default: 2}", 3, ["'a' is given twice"]),
        ("options:\n  profile: {type: string}\nprofiles: {p: {}}", 2, ["'profile' is made from the profiles"]),
        # d.10 to d.12: sizes
        ("policy:\n  defaults:\n    worker: {cores: 2}", 3, ["set options.worker_cores.default instead"]),
        ("policy:\n  defaults:\n    worker: {memory_request: 2G}", 3,
         ["the option worker_memory says worker.memory anew", "set options.worker_memory.sets.worker.memory_request"]),
        ("policy: {defaults: {worker: {memory: 4G}}}\noptions: {worker_memory: {enabled: false, default: 8}}", 1,
         ["set options.worker_memory.default instead"]),
        ("policy: {defaults: {scheduler: {cores_request: 2}}}\n"
         "options: {large: {type: int, default: 4, sets: {scheduler: {cores: '{options.large}'}}}}", 1,
         ["the option large says scheduler.cores anew", "set options.large.sets.scheduler.cores_request instead"]),
        ("profiles:\n  p:\n    worker: {cores: '2 CPU'}", 3, ["worker.cores: must be a number above 0", "'2 CPU'"]),
        ("profiles:\n  p:\n    worker: {cores: 0}", 3, ["worker.cores: must be a number above 0"]),
        ("profiles:\n  p:\n    worker: {memory: 600 GiG}", 3, ["must be memory such as '8 GiB'"]),
        ("profiles:\n  p:\n    worker: {memory: 4}", 3, ["has no unit? Write '4 GiB'"]),
        ("profiles:\n  p:\n    worker: {memory: 4.5}", 3, ["has no unit? Write '4.5 GiB'"]),
        ("profiles:\n  p:\n    worker: {share: 1/16}", 3, ["node and share belong together"]),
        ("profiles:\n  p:\n    worker: {node: bg, share: 2}", 3, ["must be a part of one such as 0.25"]),
        ("profiles:\n  p:\n    worker: {node: bg, share: 1/2}\npolicy: {nodes: {big: {cores: 4, memory: 8G}}}", 3,
         ["no node 'bg' in policy.nodes", "Did you mean 'big'?"]),
        # d.12: more is set aside than may be used
        ("profiles:\n  p:\n    worker: {cores: 1, cores_request: 2}", 3, ["cores_request: 2 would be set aside"]),
        ("profiles:\n  p:\n    worker: {memory: 4G, memory_request: 8G}", 3, ["memory_request: 8G would be set aside"]),
        ("policy:\n  nodes:\n    big: {cores: 4, memory: 8G, reserved_cores: 4}", 3, ["leave nothing: 4 of 4 cores"]),
        ("policy:\n  nodes:\n    big: {cores: 4, memory: 8G, reserved_memory: 9 GiB}", 3, ["leaves nothing: 9 GiB of"]),
        # d.15: times
        ("leases:\n  idle: 30", 2, ["leases.idle must be keys with values, out of default, minimum", "got 30"]),
        ("leases:\n  idle: {default: 30}", 2, ["all in seconds; got 60 <= 30"]),
        ("leases:\n  idle_timeout: 1800", 2, ["unknown key 'idle_timeout' in leases", "Did you mean 'idle'?"]),
        ("timeouts:\n  worker_start: 900", 2, ["Did you mean 'worker_start_s'?"]),
        ("policy:\n  everyone: {idle_s: 30 min}", 2, ["must be a number, at least 0", "got '30 min'"]),
        # sums over what is no number
        ("policy:\n  everyone: {idle_s: '{options.environment * 60}'}", 2,
         ["reckons with {options.environment}, which is no number"]),
        ("policy:\n  everyone: {age_s: '{max(user.name, 1)}'}", 2, ["reckons with {user.name}, which is no number"]),
        ("profiles:\n  p: {scheduler_start_s: 0}", 2, ["scheduler_start_s: must be a number above 0"]),
        ("profiles:\n  p: {start_timeout_s: 900}", 2, ["unknown key 'start_timeout_s'"]),
        ("profiles:\n  p: {idle_timeout: 30m}", 2, ["unknown key 'idle_timeout' in profiles.p"]),
        # d.17: an image without a tag
        (OVERLAY + "profiles:\n  p: {image: 'host:5000/dask'}", 3, ["profiles.p.image: must name a tag or digest"]),
        (OVERLAY + "profiles:\n  p: {image: 'x/y:1'}\npolicy: {images: {allowed: ['lab/*']}}", 3, ["one of lab/*"]),
        # d.21: secrets where they would be seen
        (OVERLAY + "options:\n  t: {type: string, secret: true, sets: {backend: {t: '{options.t}'}}}", 3,
         ["options.t.sets.backend.t: the option 't' is secret, and secrets can go into variables only"]),
        ("options:\n  t: {type: string, secret: true, default: hunter2}", 2, ["a secret has no default"]),
        ("options:\n  t: {type: int, default: 1, secret: true}", 2, ["has no meaning for an option of type int"]),
        ("profiles:\n  p: {secret_variables: {A-B: x}}", 2, ["names consist of letters, digits and _"]),
        ("policy:\n  everyone: {variables: {SLUICE_LAUNCH: x}}", 2, ["belong to dask-sluice"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_the_right_key(text: str, line: int, words: list[str]) -> None:
    problems = refused(text)
    assert problems[0].startswith(f"{FILE}, line {line}: "), problems
    for word in words:
        assert word in problems[0]
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("{}", "needs a type"),
        ("{type: integer}", "must be one of 'int', 'float'"),
        ("{type: int}", "needs a default"),
        ("{type: int, default: '3'}", "default: must be a whole number, got '3'"),
        ("{type: int, default: 1.5}", "default: must be a whole number"),
        ("{type: float, default: 1, minimum: 2}", "must keep minimum <= default <= maximum"),
        ("{type: float, default: 1, min: 2}", "unknown key 'min' in options.x. Did you mean 'minimum'?"),
        ("{type: bool, default: 1}", "must be true or false"),
        ("{type: bool, when: {maybe: {}}}", "when.maybe: must be true or false"),
        ("{type: string, minimum: 1}", "minimum: has no meaning for an option of type string"),
        ("{type: string, choices: [a]}", "choices: has no meaning for an option of type string"),
        ("{choices: []}", "has no choices"),
        ("{choices: [a, b], default: c}", "must be one of ['a', 'b'], got 'c'"),
        ("{choices: [small], when: {smal: {}}}", "is not among the choices. Did you mean 'small'?"),
        ("{type: mapping, default: [1]}", "must be a mapping"),
        ("{type: string, default: '{options.y}'}", "there is no {options.y}"),
        ("{type: string, allowed: ['/h/{user.nam}/*']}", "Did you mean {user.name}?"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, words: str) -> None:
    problem = refused(f"options:\n  x: {option}")[0]
    assert problem.startswith(f"{FILE}, line 2: ")
    assert words in problem


@pytest.mark.parametrize("name", ["worker-cores", "1st", "_x", "class", "a b"])
def test_an_option_is_named_as_python_can(name: str) -> None:
    assert "cannot be the name of an option" in refused(f"options:\n  {name}: {{type: string}}")[0]


def test_an_option_that_takes_a_built_in_ones_name_says_what_it_does() -> None:
    wrong = refused("options:\n  worker_cores: {type: int, default: 1}")[0]
    assert "takes the place of the built-in option worker_cores of type float, so 'sets' or 'when' must say" in wrong
    assert "must be a number above 0" in refused("options:\n  worker_cores: {minimum: 0}")[0]


def test_all_mistakes_of_options_and_profiles_are_told_at_once() -> None:
    problems = refused("options:\n  a: {}\n  b: {type: int}\nprofiles:\n  p: {environment: here}")
    assert [problem.split(": ")[0] for problem in problems] == [f"{FILE}, line {n}" for n in (2, 3, 5)]


def test_every_user_has_a_label_that_kubernetes_takes() -> None:
    """d.8: `@` and friends made schedulers fail."""
    for name in ("ada@example.org", ".ada", "Ada", "ada_l", "ada-"):
        label = escaped(Caller(name).name)
        assert label[0].isalnum()
        assert label[-1].isalnum()


def test_a_scheduler_that_is_too_small_is_pointed_out_before_it_dies_at_scale() -> None:
    """d.13: 128 MB died with odd errors once there were many workers."""
    small = resolved("policy: {defaults: {scheduler: {memory: 128M}}}").plan.notes
    assert [note for note in small if note.startswith("the scheduler may use 128 MiB (policy.defaults)")]
    assert resolved("policy: {defaults: {scheduler: {memory: 1 GiB}}}").plan.notes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen: {address: 0.0.0.0}", ["listen.address is 0.0.0.0", "tls_certificate"]),
        ("listen: {address: '::'}", ["listen.address is ::"]),
        ("authenticator: {kind: basic, basic: {password: together}}", ["basic.password", "an administrator's too"]),
        ("listen: {address: localhost}", []),
        ("listen: {address: 0.0.0.0, public_url: 'https://dask.example.org'}", []),
    ],
)
def test_what_opens_a_server_to_everybody_is_said_aloud(text: str, words: list[str]) -> None:
    """d.26: production servers took any user's name, and nobody had meant it."""
    said = list(warnings(loads(text, FILE)))
    assert bool(said) is bool(words)
    for word in words:
        assert word in said[0]
    assert "together" not in "".join(said)


@pytest.mark.parametrize("text", [
    "policy: {defaults: {worker: {memory_request: 1G}}}\noptions: {worker_memory: {enabled: false}}",
    "policy: {defaults: {worker: {memory_request: 1G}}}\nprofiles: {p: {}}",
])  # fmt: skip
def test_what_nobody_chooses_may_have_its_share_set_aside_for_all(text: str) -> None:
    worker = resolved(text).spec.worker
    assert (worker.memory_bytes, worker.memory_request_bytes) == (2 * 2**30, 2**30)


def test_threads_go_by_what_a_worker_may_use_and_not_by_what_is_set_aside() -> None:
    """d.10: 2i2c's sizes gave 1, 1, 3, 7, 15 threads on 1, 2, 4, 8, 16 CPUs."""
    for cores in (1, 2, 4, 8, 16):
        text = f"profiles: {{p: {{worker: {{cores: {cores}, cores_request: {cores * 0.96}}}}}}}"
        assert resolved(text).spec.worker.threads == cores


def test_thousandths_of_a_core_are_kept() -> None:
    """d.12: 7.745 became 7.7, and nodes held one worker instead of two."""
    worker = resolved("profiles: {p: {worker: {cores: 8, cores_request: 7.745}}}").spec.worker
    assert worker.cores_request == 7.745
