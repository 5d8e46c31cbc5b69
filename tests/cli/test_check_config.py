"""`check-config --user` says what would be launched, before anybody else finds out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from dask_sluice.cli import exits
from dask_sluice.cli.main import main

from ..server.policy import site_hooks

HANDLERS = Path(__file__).parents[1] / "server" / "policy" / "handlers"


def check(family: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["check-config", str(HANDLERS / f"{family}.yaml"), *more])


@pytest.mark.parametrize("family", [f.stem for f in HANDLERS.glob("*.yaml") if f.name.count(".") == 1])
def test_every_familys_configuration_is_fine_and_shows_a_user(family: str) -> None:
    assert check(family).exit_code == 0
    shown = check(family, "--user", "ada", "--groups", "ice,sea")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "What ada (groups ice, sea) would get" in shown.stdout
    assert "worker.threads" in shown.stdout


def test_a_choice_is_shown_with_where_its_values_come_from_and_what_fits_on_a_node() -> None:
    choice = ("-o", "image=x/y:1", "-o", "worker_resource_allocation=4CPU-30GB")
    shown = check("2i2c", "--user", "ada", *choice).stdout
    assert "4 cores (3.85 set aside), 30.38 GiB, 4 threads" in shown
    assert "4 such workers fit on one n2-highmem-16" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("worker.cores_request")]
    assert line.split() == ["worker.cores_request", "3.85", "option", "worker_resource_allocation"]


def test_every_profile_is_run() -> None:
    shown = check("nebari", "--user", "ada", "--profile", "medium").stdout
    assert "profile    medium" in shown
    rows = {line.split()[0]: line for line in shown.partition("PROFILE")[2].splitlines()[1:]}
    assert rows.keys() == {"small", "medium", "gpu"}
    assert "closed to this user" in rows["gpu"]
    assert "4 cores (3 set aside), 16 GiB (10 set aside), 4 threads" in rows["medium"]


def test_json_has_the_same_for_programs_and_no_secret() -> None:
    done = check("rhodium", "--user", "ada", "-o", "gcsfuse_tokens={GCSFUSE: hunter2}", "--json")
    found = json.loads(done.stdout)
    assert found["outcome"]["plan"]["variables"]["GCSFUSE"] == "**********"
    assert found["profiles"].keys() == {"standard", "micro", "big", "giant"}
    assert "hunter2" not in done.output


def test_the_pods_of_a_users_cluster_are_shown_as_kubernetes_takes_them() -> None:
    shown = check("planetary", "--user", "Ada", "-o", "image=x/y:1", "-o", "gpu=true", "--pods")
    assert (shown.exit_code, shown.stderr) == (0, "")
    scheduler, worker = yaml.safe_load_all(shown.stdout)
    assert [pod["metadata"]["name"] for pod in (scheduler, worker)] == [
        "dask-ada-12345678-scheduler",
        "dask-ada-12345678-worker-1",
    ]
    assert worker["spec"]["nodeSelector"] == {"pc.microsoft.com/workerkind": "gpu"}
    assert "namespace" not in worker["metadata"]
    elsewhere = yaml.safe_load_all(check("rspy", "--user", "ada", "--pods").stdout)
    assert {pod["metadata"]["namespace"] for pod in elsewhere} == {"dask-gateway"}


def test_no_pods_are_shown_where_there_would_be_none(tmp_path: Path) -> None:
    wrong = check("planetary", "--user", "ada", "-o", "image=host:5000/dask", "--pods")
    assert wrong.exit_code == exits.USAGE
    assert "ada would be refused: image must name a tag or digest" in wrong.stderr
    assert "worker_cores must be" in check("pangeo", "--user", "a", "-o", "worker_cores=99", "--pods").stderr
    assert "name one with --user" in check("pangeo", "--pods").stderr
    (tmp_path / "local.yaml").write_text("backend: {kind: local}\n")
    local = CliRunner().invoke(main, ["check-config", str(tmp_path / "local.yaml"), "--user", "a", "--pods"])
    assert "--pods is for the backend 'kubernetes'; this configuration has 'local'" in local.stderr


def test_what_would_be_refused_is_an_error() -> None:
    done = check("pangeo", "--user", "ada", "-o", "worker_cores=99")
    assert done.exit_code == exits.USAGE
    assert "ada would be refused: worker_cores must be <= 16, got 99" in done.stderr
    assert check("pangeo", "--profile", "x").exit_code == exits.USAGE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy:\n  hook: nowhere:f", "line 2: policy.hook: cannot import 'nowhere:f'"),
        ("policy:\n  options_hook: os:nothing", "line 2: policy.options_hook: cannot import 'os:nothing'"),
        (
            "log: {}\nbackend:\n  kind: lokal",
            "line 3: backend.kind: there is no backend 'lokal'. Did you mean 'local'?",
        ),
        (
            "authenticator:\n  kind: basci",
            "line 2: authenticator.kind: there is no authenticator 'basci'. Did you mean",
        ),
    ],
)
@pytest.mark.parametrize("user", [(), ("--user", "ada")])
def test_what_cannot_be_imported_is_found_with_its_line(
    tmp_path: Path, text: str, words: str, user: tuple[str, ...]
) -> None:
    done = checked(tmp_path, text, *user)
    assert done.exit_code == exits.FAILED
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("log: {}\npolicy:\n  hook: HOOKS:breaks", "line 3: HOOK KeyError"),
        ("policy:\n  hook: HOOKS:misspells", "line 2: HOOK unknown key"),
        ("policy:\n  hook: HOOKS:answers_nonsense", "line 2: HOOK it must"),
        ("policy:\n  hook: HOOKS:never_returns\n  hook_timeout_s: 0.05", "line 2: REFUSED the site's policy.hook did"),
        ("policy:\n  options_hook: HOOKS:unknown_option", "line 2: REFUSED the site's policy.options_"),
        ("limits:\n  user:\n    cores: 4\npolicy:\n  everyone: {worker: {cores: 9}}", "line 3: REFUSED a "
         "scheduler and one worker of this size would need 10 cores"),
        ("profiles:\n  p:\n    max_workers: '{options.worker_cores - 1}'", "line 3: REFUSED max_workers"),
        ("options:\n  n: {type: int, default: 0, sets: {worker: {cores: '{options.n}'}}}", "line 2: REFUSED worker"),
    ],
)  # fmt: skip
def test_what_only_shows_for_a_user_has_its_line_too(tmp_path: Path, text: str, words: str) -> None:
    site_hooks.held.clear()
    try:
        done = checked(tmp_path, text.replace("HOOKS", site_hooks.__name__), "--user", "ada")
    finally:
        site_hooks.held.set()
    assert done.exit_code == exits.USAGE
    hook = "REFUSED the site's policy.hook failed: "
    assert words.replace("HOOK ", hook).replace("REFUSED", "ada would be refused:") in done.stderr


def test_limits_and_budgets_of_the_user_are_shown_with_who_set_them(tmp_path: Path) -> None:
    text = """
    limits: {cluster: {workers: 100}, user: {clusters: 4, cores: 200}, group: {gpus: 8}, users: {ada: {clusters: 10}}}
    usage: {budgets: {per_user: {amount: 50}, groups: {ice: {amount: 9, unit: core_hours, period: week}}}}
    """
    shown = checked(tmp_path, text, "--user", "ada", "--groups", "ice").stdout
    for line in (
        "one cluster: 100 workers (limits.cluster.workers)",
        "all clusters of ada: 10 clusters (limits.users.ada.clusters), 200 cores (limits.user.cores)",
        "all clusters of group ice: 8 GPUs (limits.group.gpus)",
        "budget of user ada: 50 EUR each month (usage.budgets.per_user)",
        "budget of group ice: 9 core-hours each week (usage.budgets.groups.ice)",
    ):
        assert line in shown


def test_what_a_configuration_opens_is_a_warning_and_no_error(tmp_path: Path) -> None:
    done = checked(tmp_path, "listen: {address: 0.0.0.0}")
    assert done.exit_code == 0
    assert "warning: listen.address is 0.0.0.0" in done.stderr


def checked(directory: Path, text: str, *more: str) -> Result:
    file = directory / "sluice.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["check-config", str(file), *more])
