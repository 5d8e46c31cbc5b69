"""The command: YAML on standard output, the report on standard error, exit codes for programs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from dask_sluice.cli import exits
from dask_sluice.cli.main import main
from dask_sluice.server.settings import load

SMALL = "gateway: {prefix: /dask, auth: {type: jupyterhub, jupyterhub: {jupyterhubServiceName: dask-gateway}}}\n"


@pytest.fixture
def values(tmp_path: Path) -> Path:
    file = tmp_path / "values.yaml"
    file.write_text(SMALL)
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["migrate", "dask-gateway", *map(str, arguments)])


def test_values_of_the_chart_come_out_and_what_to_know_beside_them(values: Path) -> None:
    done = run(values)
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout)["config"]["listen"] == {"prefix": "/dask"}
    assert done.stderr.startswith("\n## Needs your decision")
    assert "values.yaml:1: gateway.prefix: -> listen.prefix" in done.stderr


def test_files_instead_of_standard_output(values: Path, tmp_path: Path) -> None:
    settings, report = tmp_path / "sluice.yaml", tmp_path / "report.md"
    done = run(values, "--settings", "--output", settings, "--report", report)
    assert (done.exit_code, done.output) == (0, "")
    assert load(settings).listen.prefix == "/dask"
    assert "## Carried over" in report.read_text()
    lost = run(values, "--output", tmp_path / "no" / "such")
    assert lost.exit_code == exits.FAILED
    assert "cannot be written" in lost.stderr


def test_strict_fails_where_something_is_left_to_decide(values: Path) -> None:
    done = run(values, "--strict")
    assert done.exit_code == exits.FAILED
    assert "need" in done.stderr.splitlines()[-1]
    assert yaml.safe_load(done.stdout)["config"]


def test_several_files_are_merged_as_helm_does(values: Path, tmp_path: Path) -> None:
    more = tmp_path / "prod.yaml"
    more.write_text(
        "gateway:\n  prefix: /prod\n  auth: {jupyterhub: null, type: simple, simple: {password: s3cret-s3cret}}\n"
    )
    done = run(values, more, "--settings")
    settings = yaml.safe_load(done.stdout)
    assert settings["listen"] == {"prefix": "/prod"}
    assert "prefix: /prod  # prod.yaml:2" in done.stdout
    assert settings["authenticator"]["kind"] == "basic"


def test_a_password_goes_into_the_settings_and_never_into_the_report(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("gateway: {auth: {type: simple, simple: {password: correct-horse}}}")
    done = run(file)
    assert yaml.safe_load(done.stdout)["config"]["authenticator"]["basic"] == {"password": "correct-horse"}
    assert "correct-horse" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1 is not YAML"),
        ("- 1", "holds no keys with values"),
        ("jupyterhub: {hub: {}}", "there are no values of dask-gateway"),
        ("gateway: {extraConfig: {}}\nx: *nowhere", "line 2 is not YAML"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    done = run(file)
    assert done.exit_code == exits.USAGE
    assert message in done.stderr
    assert done.stdout == ""


def test_two_sections_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        "basehub:\n  dask-gateway: {gateway: {prefix: /inner}}\ndask-gateway: {gateway: {prefix: /outer, "
        "replicas: 3}}\n"
    )
    done = run(file)
    assert yaml.safe_load(done.stdout)["basehub"]["dask-sluice"]["config"]["listen"] == {"prefix": "/inner"}
    assert (
        "values.yaml:3: dask-gateway: there are values of dask-gateway at basehub.dask-gateway as well" in done.stderr
    )
    assert "replicas" not in done.stdout


def test_values_and_python_are_not_mixed(values: Path, tmp_path: Path) -> None:
    config = tmp_path / "dask_gateway_config.py"
    config.write_text("")
    assert run(values, config).exit_code == exits.USAGE


def test_an_empty_configuration_is_the_old_defaults(tmp_path: Path) -> None:
    config = tmp_path / "dask_gateway_config.py"
    config.write_text("")
    done = run(config)
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout)["options"]["worker_cores"] == {"enabled": False}


def test_odd_values_are_said_and_never_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        "gateway:\n  prefix: [1]\n  loglevel: 7\n  extraConfig: 3\n  backend:\n    image: 5\n    imagePullSecrets: "
        "{a: b}\n"
        "    scheduler: {cores: {limit: lots}, memory: {limit: '600 XB'}, extraPodConfig: [1], extraContainerConfig: "
        "{env: {A: 1}}}\n"
        "    worker: 3\n  auth: jupyterhub\ntraefik: null\ncontroller: {enabled: 1}\n"
    )
    done = run(file)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "must be a number of cores above 0, got 'lots'" in done.stderr
    assert "600 XB" in done.stderr
