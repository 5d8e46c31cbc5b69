"""A process is known by number and start time; names cannot confuse the reading, and a zombie is not alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dask_sluice.wire.processes import ZOMBIE, is_alive, process_ids, process_stat


def test_this_process_is_alive_and_listed() -> None:
    stat = process_stat(os.getpid())
    assert stat is not None
    assert (stat.parent, stat.group, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert is_alive(stat.pid, stat.start_time)
    assert stat.pid in process_ids()


def test_another_start_time_is_another_process() -> None:
    assert not is_alive(os.getpid(), "1@before")


def test_no_process_is_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert process_stat(process.pid) is None


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    stat = process_stat(process.pid)
    assert stat is not None
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    zombie = process_stat(process.pid)
    assert zombie is not None
    assert zombie.state == ZOMBIE
    assert not is_alive(stat.pid, stat.start_time)
    process.wait()


@pytest.mark.parametrize("name", ["a b", "a) R 1 1", "((", "\n"])
def test_a_name_made_to_confuse_does_not(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    stat = process_stat(process.pid)
    assert stat is not None
    assert stat.parent == os.getpid()
    process.kill()
    process.wait()
