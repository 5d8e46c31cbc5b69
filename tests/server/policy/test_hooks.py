"""The site's own functions: asked off the event loop, with a deadline, on a copy; their answers are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_sluice.server.clock import SystemClock
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.hooks import Hooks
from dask_sluice.server.startup import CannotStart
from dask_sluice.wire.errors import BackendUnavailable, OptionInvalid, RequestInvalid, ServerError

from ..http.site import running_site
from . import site_hooks
from .sites import ADA, GRACE, resolved_by_hook, site, sources

HERE = f"{__package__}.site_hooks" if __package__ else "site_hooks"


def hook(name: str, more: str = "") -> str:
    return f"policy: {{hook: '{HERE}:{name}', {more}}}\n"


async def test_a_hook_has_the_last_word_and_its_braces_are_braces() -> None:
    result = await resolved_by_hook(hook("by_options", "users: {ada: {variables: {CORES: none}}}"), {"worker_cores": 2})
    assert result.spec.variables == {"CORES": "2", "JSON": '{"a": 1}'}
    assert sources(result)["variables.CORES"] == "hook"


async def test_a_hook_may_be_a_coroutine_and_take_the_user() -> None:
    for caller, number in ((ADA, 1001), (GRACE, 1002)):
        result = await resolved_by_hook(hook("ldap"), {}, caller)
        assert result.spec.backend == {"worker": {"securityContext": {"runAsUser": number}}}


async def test_what_a_hook_raises_is_told_in_its_words() -> None:
    with pytest.raises(RequestInvalid, match=r"^mallory has no account on the cluster: ask for one at "):
        await resolved_by_hook(hook("ldap"), {}, Caller("mallory"))


async def test_a_hook_works_on_a_copy() -> None:
    text = "options: {env: {type: mapping, default: {A: '1'}, sets: {variables: '{options.env}'}}}\n"
    given = {"env": {"B": "2"}}
    settings = site(text + hook("changes_what_it_is_told"))
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()
    policy = Policy.of(settings, None)
    for _ in range(2):
        assert (await hooks.resolve(policy, ADA, "ada-1", given)).spec.variables == {"B": "2"}
        assert (await hooks.resolve(policy, ADA, "ada-1", {})).spec.variables == {"A": "1"}
    assert given == {"env": {"B": "2"}}


async def test_a_hook_runs_in_a_thread_of_its_own() -> None:
    assert (await resolved_by_hook(hook("says_thread"))).spec.variables == {"THREAD": "policy.hook"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("misspells", "unknown key 'core' in scheduler. Did you mean 'cores'?"),
        ("answers_nonsense", "it must give a mapping or None, got int"),
        ("too_small", "worker.cores: must be a number above 0"),
        ("sets_our_own", "variables SLUICE_* belong to dask-sluice"),
        ("breaks", "KeyError: 'uid'"),
    ],
)
async def test_a_wrong_answer_is_an_error_that_says_what_is_wrong(name: str, words: str) -> None:
    with pytest.raises(ServerError) as caught:
        await resolved_by_hook(hook(name))
    assert caught.value.message.startswith("the site's policy.hook failed: ")
    assert words in caught.value.message


async def test_a_hook_that_does_not_return_holds_nobody_up() -> None:
    site_hooks.held.clear()
    try:
        with pytest.raises(BackendUnavailable, match=r"did not answer within 0\.05 s"):
            await resolved_by_hook(hook("never_returns", "hook_timeout_s: 0.05"))
    finally:
        site_hooks.held.set()


@pytest.mark.parametrize("path", ["nowhere:f", f"{HERE}:nothing", f"{HERE}:IDS"])
def test_a_hook_that_is_not_there_keeps_the_server_from_starting(path: str) -> None:
    hooks = Hooks(site(f"policy: {{hook: '{path}'}}").policy, SystemClock())
    with pytest.raises(CannotStart, match=r"policy\.hook: "):
        hooks.load()


async def test_options_may_be_computed_for_each_user_and_the_last_good_answer_counts() -> None:
    text = f"""
        options: {{conda_environment: {{choices: [none]}}}}
        policy: {{options_hook: '{HERE}:environments', options_hook_keep_s: 0}}
    """
    settings = site(text)
    hooks, policy = Hooks(settings.policy, SystemClock()), Policy.of(settings, None)
    hooks.load()
    site_hooks.calls.clear()
    for _ in range(2):
        option = (await hooks.offer(policy, ADA)).options[-1]
        assert option.choices == ("ada/base", "ice/base", "sea/base")
    assert site_hooks.calls == ["ada", "ada"]
    with pytest.raises(OptionInvalid, match="conda_environment must be one of"):
        await hooks.resolve(policy, ADA, "a", {"conda_environment": "grace/base"})
    with pytest.raises(ServerError, match="ConnectionError: the environment service does not answer"):
        await hooks.offer(policy, Caller("nobody"))


async def test_an_answer_for_options_is_kept_for_a_while() -> None:
    text = f"options: {{conda_environment: {{choices: [x]}}}}\npolicy: {{options_hook: '{HERE}:environments'}}"
    settings = site(text)
    hooks, policy = Hooks(settings.policy, SystemClock()), Policy.of(settings, None)
    hooks.load()
    site_hooks.calls.clear()
    for _ in range(3):
        await hooks.offer(policy, ADA)
    assert site_hooks.calls == ["ada"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown_option", "'worker_core' is no option, and has no type. Did you mean 'worker_cores'?"),
        ("wrong_key", "worker_cores: unknown key 'max'. Did you mean"),
    ],
)
async def test_wrong_options_are_told_with_the_nearest_right_ones(name: str, words: str) -> None:
    settings = site(f"policy: {{options_hook: '{HERE}:{name}'}}")
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()
    with pytest.raises(ServerError) as caught:
        await hooks.offer(Policy.of(settings, None), ADA)
    assert words in caught.value.message


async def test_over_http_the_hooks_words_are_the_body_of_the_error(tmp_path: Path) -> None:
    async with running_site(tmp_path, settings=site(hook("ldap"))) as here, here.client("root") as client:
        answer = await client.post("/api/v2/clusters", json={"options": {}})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("root has no account on the cluster")
        old = await client.post("/api/v1/clusters/", json={"cluster_options": {}})
        assert "root has no account on the cluster" in old.text
