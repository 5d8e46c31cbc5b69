"""An environment is used if it can run a cluster; else the sentence says exactly what is wrong with which path."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dask_sluice.server.backends.local import LocalSettings
from dask_sluice.server.backends.local.accounts import Account, own_account
from dask_sluice.server.backends.local.environments import find, judge, variables
from dask_sluice.server.backends.protocol import Refused
from dask_sluice.wire.errors import EnvironmentInvalid

from .conformance import running, submit
from .local_harness import OWNER, LocalHarness, command, job

TIMEOUT_S = 20.0


def make_venv(directory: Path, *, distributed: bool = True) -> Path:
    """A virtual environment, quickly: without pip, and with this one's packages or none."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    if distributed:
        (packages_of(directory) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


def packages_of(venv: Path) -> Path:
    (packages,) = venv.glob("lib/python*/site-packages")
    return packages


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    return make_venv(tmp_path / "venv")


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LocalHarness]:
    harness = LocalHarness(tmp_path, LocalSettings(stop_grace_s=1.0, nursery_unused_s=0.2))
    await harness.backend.start()
    yield harness
    await harness.close()


def complaint(path: str | Path, timeout_s: float = TIMEOUT_S) -> str:
    with pytest.raises(EnvironmentInvalid) as caught:
        find(str(path), own_account(), timeout_s)
    return caught.value.message


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# -- finding one


def test_a_venv_and_its_interpreter_are_both_environments(venv: Path) -> None:
    python = str(venv / "bin" / "python")
    for path in (str(venv), f"{venv}/", python):
        assert find(path, own_account(), TIMEOUT_S).interpreter == python


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert complaint(tmp_path / "nowhere") == f"there is no environment at {tmp_path}/nowhere"


def test_a_relative_path_is_said() -> None:
    assert complaint("venvs/mine") == "the environment 'venvs/mine' is not an absolute path"


def test_a_directory_that_is_no_environment_is_said(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path} is not a Python environment: there is no bin/python in it"


def test_a_file_that_is_not_executable_is_said(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    assert complaint(tmp_path / "python") == f"{tmp_path}/python is not executable by {own_account().name}"


def test_a_file_that_is_no_program_is_said(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    assert complaint(program) == f"{program} cannot be run: Exec format error"


def test_a_program_that_is_not_python_is_said(tmp_path: Path) -> None:
    program = script(tmp_path / "python", "echo what?; exit 4")
    assert complaint(program) == f"{program} is not a Python that runs: it ended with exit code 4 (what?)"


def test_a_program_that_never_answers_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path / "python", "sleep 1000 & sleep 1000")
    began = time.monotonic()
    assert complaint(program, 0.3) == f"{program} is not a Python that runs: it did not answer in time (no output)"
    assert time.monotonic() - began < 5


def test_a_program_that_never_stops_talking_is_ended(tmp_path: Path) -> None:
    assert "is not a Python that runs" in complaint(script(tmp_path / "python", "exec yes"))


def test_an_environment_without_distributed_is_said(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "bare", distributed=False)
    assert complaint(venv) == f"the environment {venv} lacks the package distributed"


def test_a_distributed_that_is_too_old_is_said() -> None:
    answer = {"python": [3, 9, 1], "packages": "/p", "distributed": "2021.12.0+3.gabc"}
    with pytest.raises(EnvironmentInvalid, match=r"/e has distributed 2021\.12\.0\+3\.gabc; clusters need 2022\.4\.0"):
        judge("/e", "/e/bin/python", answer)


@pytest.mark.parametrize("version", ["2022.4.0", "2022.4.0+1.gabc", "2026.8.0", "2100.1.0rc1"])
def test_newer_ones_are_fine(version: str) -> None:
    assert judge("/e", "/e/bin/python", {"python": [3, 9, 1], "packages": "/p", "distributed": version})


def test_a_python_that_is_too_old_is_said() -> None:
    with pytest.raises(EnvironmentInvalid, match=r"/e has Python 3\.8\.2; clusters need 3\.9 or newer"):
        judge("/e", "/e/bin/python", {"python": [3, 8, 2]})


def test_old_pythons_understand_the_question(tmp_path: Path) -> None:
    for old in ("/usr/bin/python2", "/usr/bin/python3"):
        if os.path.exists(old):
            assert "clusters need 3.9" in (text := complaint(old)) or "lacks the package distributed" in text


# -- using one


async def test_a_cluster_runs_in_the_environment_asked_for(harness: LocalHarness, venv: Path) -> None:
    (handle,) = await running(harness, job("one", "scheduler", "stay", environment=str(venv)))
    assert command(handle.data["pid"]).startswith(f"{venv}/bin/python ")


async def test_checking_one_warms_its_nursery(harness: LocalHarness, venv: Path) -> None:
    for _ in range(2):
        await harness.backend.check_environment(str(venv), OWNER)
        assert len([pid for pid in harness.nurseries() if command(pid).startswith(str(venv))]) == 1


async def test_one_that_cannot_be_used_is_refused_with_the_same_sentence(harness: LocalHarness, tmp_path: Path) -> None:
    bare = make_venv(tmp_path / "bare", distributed=False)
    with pytest.raises(EnvironmentInvalid, match="lacks the package distributed"):
        await harness.backend.check_environment(str(bare), OWNER)
    with pytest.raises(Refused, match="lacks the package distributed"):
        await submit(harness.backend, job("one", "scheduler", "stay", environment=str(bare)))


async def test_one_that_breaks_at_import_is_refused_with_what_python_said(harness: LocalHarness, venv: Path) -> None:
    (harness.stage / "sluice_agent" / "agent" / "nursery_warm.py").write_text("import no_such_module\n")
    with pytest.raises(EnvironmentInvalid, match=f"{venv} cannot run a cluster: .*No module named 'no_such_module'"):
        await harness.backend.check_environment(str(venv), OWNER)


async def test_an_environment_that_changed_gets_a_new_nursery(harness: LocalHarness, venv: Path) -> None:
    first, second, third = (job("one", f"worker-{n}", "stay", environment=str(venv)) for n in (2, 3, 4))
    await running(harness, first)
    await running(harness, second)
    before = set(harness.nurseries())
    packages_of(venv).joinpath("new_package").mkdir()
    await running(harness, third)
    assert len(set(harness.nurseries()) - before) == 1


async def test_a_nursery_long_unused_is_ended_but_not_the_default_one(harness: LocalHarness, venv: Path) -> None:
    await running(harness, job("one", "scheduler", "stay"))
    (handle,) = await running(harness, job("two", "scheduler", "stay", environment=str(venv)))
    await asyncio.sleep(0.5)
    assert len(harness.nurseries()) == 2, "it still has a child"
    await harness.backend.remove(handle)
    deadline = time.monotonic() + harness.patience_s
    while len(harness.nurseries()) > 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await running(harness, job("two", "worker-2", "stay", environment=str(venv)))


# -- what a nursery's processes can see of the server


def account(**changes: object) -> Account:
    fields: dict[str, object] = {"name": "ada", "uid": 1234, "gid": 1234, "home": "/home/ada", "shell": "/bin/sh"}
    return Account(**{**fields, "change": True, **changes})  # type: ignore[arg-type]


def test_variables_of_a_server_run_as_root_stay_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = variables({"PATH": "/bin", "PGPASSWORD": "secret", "LC_ALL": "C"}, account(), "/e/bin/python")
    assert "PGPASSWORD" not in found
    assert (found["PATH"], found["LC_ALL"], found["HOME"]) == ("/e/bin:/bin", "C", "/home/ada")


def test_variables_for_another_interpreter_do_not_bend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    given = {"PYTHONPATH": "/x", "PYTHONHASHSEED": "0", "VIRTUAL_ENV": "/y", "AWS_PROFILE": "z", "OMP_NUM_THREADS": "2"}
    found = variables(given, account(change=False), "/e/bin/python")
    assert "PYTHONPATH" not in found
    assert "VIRTUAL_ENV" not in found
    assert (found["AWS_PROFILE"], found["OMP_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"]) == ("z", "2", "1")


async def test_only_the_server_can_reach_sockets_and_notes_of_nurseries(harness: LocalHarness) -> None:
    await running(harness, job("one", "scheduler", "stay"))
    (socket,) = harness.runtime_dir.glob("nursery-*.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600


# -- environments of other times

TIMES = [
    "distributed-2022.4.0",
    "distributed-2023.12",
    "distributed-2024.12",
    "distributed-2025.9",
    "distributed-newest",
]


def environment_of(time: str) -> str:
    """The interpreter of an environment that holds what an install brought at that time."""
    maker = Path(__file__).parents[3] / "scripts" / "environments.py"
    made = subprocess.run([sys.executable, str(maker), time], capture_output=True, text=True, timeout=600, check=False)
    if made.returncode:
        pytest.skip(f"cannot be made here: {made.stderr.strip().splitlines()[-1]}")
    return made.stdout.strip()


@pytest.mark.real
@pytest.mark.parametrize("time", TIMES)
async def test_a_nursery_is_warm_and_has_one_thread_in_environments_of_all_times(tmp_path: Path, time: str) -> None:
    environment = environment_of(time)
    harness = LocalHarness(tmp_path, warm=True)
    await harness.backend.start()
    try:
        await harness.backend.check_environment(environment, OWNER)
        (handle,) = await running(harness, job("one", "scheduler", "stay", environment=environment))
        (nursery,) = [pid for pid in harness.nurseries() if command(pid).startswith(environment)]
        assert len(os.listdir(f"/proc/{nursery}/task")) == 1
        await harness.backend.remove(handle)
        assert harness.processes() == []
    finally:
        await harness.close()
