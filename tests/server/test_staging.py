"""The staged agent: a directory that any Python can run, whole or not there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dask_sluice.server import staging


def test_staging_again_gives_the_same_directory(tmp_path: Path) -> None:
    first = staging.stage(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*.py")}
    assert staging.stage(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.py")} == before
    assert list(tmp_path.iterdir()) == [first]


def test_another_content_gets_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = staging.stage(tmp_path)
    files = {**staging.agent_files(), "sluice_agent/agent/new.py": b"# a newer release\n"}
    monkeypatch.setattr(staging, "agent_files", lambda: files)
    second = staging.stage(tmp_path)
    assert second != first
    assert (second / "sluice_agent/agent/new.py").read_bytes() == b"# a newer release\n"
    assert first.is_dir()


def test_everybody_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        directory = staging.stage(tmp_path / "agent")
    finally:
        os.umask(umask)
    for path in (directory.parent, directory, *directory.rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_copy_that_somebody_else_finished_first_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = staging._write

    def slow_write(directory: Path, files: dict[str, bytes]) -> None:
        write(directory, files)
        monkeypatch.setattr(staging, "_write", write)
        staging.stage(tmp_path)

    monkeypatch.setattr(staging, "_write", slow_write)
    directory = staging.stage(tmp_path)
    assert list(tmp_path.iterdir()) == [directory]


def test_it_runs_alone_and_says_how_to_call_it(tmp_path: Path) -> None:
    directory = staging.stage(tmp_path)
    called = subprocess.run(
        [sys.executable, "-I", str(directory)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert called.returncode == 2
    assert "scheduler|worker|nursery" in called.stderr


def test_it_imports_nothing_of_ours_but_itself(tmp_path: Path) -> None:
    directory = staging.stage(tmp_path)
    question = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sluice_agent.agent.scheduler, sluice_agent.agent.worker; "
        "print([name for name in sys.modules if name.startswith('dask_sluice')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", question, str(directory)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert answer.stdout.strip() == "[]"
