"""As root, a cluster runs as its owner's Unix account: for good, with nothing of root's, and trusted in nothing.

These tests make an account for the time they take, so they need root.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.local import LocalSettings
from dask_sluice.server.backends.local.accounts import account_of, closed_to_others, own_account
from dask_sluice.server.backends.protocol import Handle, JobState, Refused
from dask_sluice.wire.errors import EnvironmentInvalid
from dask_sluice.wire.processes import is_alive, process_stat

from .conformance import running, submit, until
from .local_harness import LocalHarness, command, job

NAME = "sluice-test-ada"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run clusters as somebody else"),
    pytest.mark.skipif(shutil.which("useradd") is None, reason="needs useradd to make an account"),
]


@pytest.fixture(scope="module")
def ada() -> Iterator[pwd.struct_passwd]:
    """A Unix account."""
    subprocess.run(["useradd", "--create-home", "--groups", "users", NAME], check=True, capture_output=True)
    yield pwd.getpwnam(NAME)
    subprocess.run(["userdel", "--remove", NAME], check=False, capture_output=True)


def passable_directory() -> Path:
    """Not `tmp_path`: that is below a directory which only root may pass."""
    directory = Path(tempfile.mkdtemp(prefix="sluice-test-"))
    directory.chmod(0o755)
    return directory


@pytest.fixture
async def harness(ada: pwd.struct_passwd) -> AsyncIterator[LocalHarness]:
    directory = passable_directory()
    harness = LocalHarness(directory)
    await harness.backend.start()
    yield harness
    await harness.close()
    shutil.rmtree(directory)


async def report(harness: LocalHarness, **fields: Any) -> dict[str, Any]:
    (handle,) = await submit(harness.backend, job("one", "worker-1", "report", owner=NAME, **fields))
    look = await until(harness, handle, JobState.ENDED)
    assert look.exit_code == 0, look.log_tail
    found: dict[str, Any] = json.loads(cluster_file(harness, "report.json").read_text())
    return found


def cluster_file(harness: LocalHarness, name: str) -> Path:
    return harness.data_dir / "clusters" / "one" / name


async def test_a_cluster_runs_as_its_owner_for_good(harness: LocalHarness, ada: pwd.struct_passwd) -> None:
    found = await report(harness)
    assert found["uids"] == [str(ada.pw_uid)] * 4
    assert found["gids"] == [str(ada.pw_gid)] * 4
    assert {int(group) for group in found["groups"]} == set(os.getgrouplist(NAME, ada.pw_gid))
    assert (found["variables"]["HOME"], found["variables"]["USER"]) == (ada.pw_dir, NAME)
    assert found["fds"] == [0, 1, 2, 3], "it could list its own descriptors, and has only its own"


async def test_only_the_owner_can_read_the_files_of_a_cluster(harness: LocalHarness, ada: pwd.struct_passwd) -> None:
    await report(harness)
    directory = cluster_file(harness, "")
    for path in (directory, *directory.iterdir()):
        found = path.stat()
        assert found.st_uid == ada.pw_uid, path
        assert found.st_mode & 0o077 == 0, path
    assert (harness.data_dir / "clusters").stat().st_mode & 0o777 == 0o711


async def test_it_can_be_removed_and_recovered_like_any_other(harness: LocalHarness) -> None:
    (handle,) = await running(harness, job("one", "worker-1", "stay", owner=NAME))
    await harness.reopen()
    assert await harness.backend.recover() == [handle]
    await harness.backend.remove(handle)
    assert harness.processes() == []


async def test_variables_of_the_server_do_not_reach_it(harness: LocalHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    await harness.backend.close()
    await harness.reopen()
    assert "PGPASSWORD" not in (await report(harness))["variables"]


async def test_a_mark_forged_by_a_user_ends_nobody_elses_process(harness: LocalHarness, ada: pwd.struct_passwd) -> None:
    await report(harness)
    victim = await asyncio.create_subprocess_exec("sleep", "1000")
    stat = process_stat(victim.pid)
    assert stat is not None
    mark = cluster_file(harness, "one-worker-7.pid")
    mark.write_text(f"{victim.pid} {stat.start_time}\n")
    os.chown(mark, ada.pw_uid, ada.pw_gid)
    forged = [handle for handle in await harness.backend.recover() if handle.job_id == "one-worker-7"]
    for handle in forged:
        await harness.backend.remove(handle)
    assert forged == []
    assert is_alive(victim.pid, stat.start_time)
    victim.kill()
    await victim.wait()


async def test_a_handle_with_a_forged_process_ends_nobody_elses(harness: LocalHarness) -> None:
    """Where a nursery of the user's own, which the user could have bent, names a process of root's."""
    (handle,) = await running(harness, job("one", "worker-1", "stay", owner=NAME))
    victim = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    stat = process_stat(victim.pid)
    assert stat is not None
    await harness.backend.remove(forged(handle, victim.pid, stat.start_time))
    assert is_alive(victim.pid, stat.start_time)
    victim.kill()
    await victim.wait()


def forged(like: Handle, pid: int, start_time: str) -> Handle:
    from dask_sluice.server.backends.local.directories import Mark
    from dask_sluice.server.backends.local.handles import make_handle

    return make_handle(like.cluster, like.job_id, like.kind, Mark(pid, start_time, like.data["uid"]))


async def test_links_of_a_user_are_not_read_for_them(harness: LocalHarness) -> None:
    await report(harness)
    for name, target in (("one-worker-2.log", "/etc/shadow"), ("one-worker-3.log", "/etc/passwd")):
        cluster_file(harness, name).symlink_to(target)
    os.link("/etc/shadow", cluster_file(harness, "hard.log")) if same_disk(harness) else None
    os.mkfifo(cluster_file(harness, "one-worker-4.log"))
    for job_id in ("one-worker-2", "one-worker-3", "one-worker-4", "hard"):
        text = await asyncio.wait_for(harness.backend.logs("one", job_id), 5)
        assert "root" not in text, job_id


def same_disk(harness: LocalHarness) -> bool:
    return os.stat("/etc/shadow").st_dev == harness.data_dir.stat().st_dev


async def test_a_directory_swapped_for_a_link_is_not_written_through(
    harness: LocalHarness, ada: pwd.struct_passwd
) -> None:
    target = harness.data_dir / "precious"
    target.mkdir()
    (harness.data_dir / "clusters" / "one").symlink_to(target)
    with pytest.raises(Exception, match="Not a directory"):
        await submit(harness.backend, job("one", "worker-1", "stay", owner=NAME))
    assert list(target.iterdir()) == []
    assert target.stat().st_uid == 0


# -- other environments


@pytest.fixture
def venv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment that everybody can use: of the machine's own Python."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None or subprocess.run([python, "-c", "import venv"], check=False).returncode:
        pytest.skip("no Python that every account can run")
    directory = passable_directory()
    subprocess.run([python, "-m", "venv", "--without-pip", str(directory / "v")], check=True)
    (packages,) = (directory / "v").glob("lib/python*/site-packages")
    info = packages / "distributed-2024.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distributed\nVersion: 2024.1.0\n")
    yield directory / "v"
    shutil.rmtree(directory)


async def test_the_nursery_of_another_environment_is_the_users_own(
    harness: LocalHarness, ada: pwd.struct_passwd, venv: Path
) -> None:
    found = await report(harness, environment=str(venv))
    assert found["uids"] == [str(ada.pw_uid)] * 4
    for pid in harness.nurseries():
        owner = os.stat(f"/proc/{pid}").st_uid
        assert owner == (ada.pw_uid if command(pid).startswith(str(venv)) else 0)
    assert len(harness.nurseries()) == 2


async def test_root_never_runs_a_program_that_a_user_names(harness: LocalHarness, ada: pwd.struct_passwd) -> None:
    home = Path(ada.pw_dir)
    program = home / "python"
    program.write_text(f"#!/bin/sh\nid -u >> {home}/ran-as\n")
    program.chmod(0o755)
    with pytest.raises(EnvironmentInvalid, match="is not a Python that runs"):
        await harness.backend.check_environment(str(program), NAME)
    assert set((home / "ran-as").read_text().split()) == {str(ada.pw_uid)}


async def test_nobody_learns_of_files_that_they_cannot_see(harness: LocalHarness) -> None:
    hidden = harness.data_dir / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "bin").mkdir()
    sentences = []
    for path in (hidden, hidden / "no", hidden / "bin"):
        with pytest.raises(EnvironmentInvalid) as caught:
            await harness.backend.check_environment(str(path), NAME)
        sentences.append(caught.value.message.replace(str(path), "PATH"))
    assert len(set(sentences)) == 1
    assert f"cannot be used by {NAME}" in sentences[0]


# -- who is who


def test_the_servers_own_account_stays_itself() -> None:
    assert account_of(own_account().name, "").change is False


def test_the_accounts_of_the_system_are_refused() -> None:
    with pytest.raises(Refused, match="'daemon' is an account of this machine's system"):
        account_of("daemon", "")


def test_an_owner_without_account_gets_the_shared_one(ada: pwd.struct_passwd) -> None:
    assert account_of("nobody-by-this-name", "").uid == 0
    assert account_of("nobody-by-this-name", NAME).uid == ada.pw_uid
    assert account_of("zero\0byte", NAME).uid == ada.pw_uid
    with pytest.raises(Refused, match="set as shared_account, does not exist"):
        account_of("nobody-by-this-name", "nor-by-this")


async def test_a_directory_that_the_owner_cannot_reach_is_said(harness: LocalHarness) -> None:
    harness.data_dir.chmod(0o700)
    with pytest.raises(Refused, match=rf"the account {NAME} cannot write .*one-worker-1\.pid \(Permission denied\)"):
        await submit(harness.backend, job("one", "worker-1", "stay", owner=NAME))


def test_a_directory_closed_to_others_is_found(tmp_path: Path) -> None:
    assert closed_to_others(Path("/usr/bin")) is None
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert closed_to_others(tmp_path / "a" / "b") in (tmp_path, *tmp_path.parents)


def test_the_administrator_is_told_who_shares_an_account(tmp_path: Path) -> None:
    alone = LocalHarness(tmp_path)
    assert any("share one: their clusters run as root" in note for note in alone.backend.describe().notes)
    alone.settings = LocalSettings(shared_account=NAME)
    assert not any("share one" in note for note in alone._new().describe().notes)
