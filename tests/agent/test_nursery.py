"""The nursery forks warm processes, says how they ended, and lets nobody else in.

Real forks, without the server: a test talks to the socket as the local backend does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import pytest

from dask_sluice.agent.nursery_exits import how_it_ended
from dask_sluice.agent.read_early import needs_new_interpreter, noting_what_is_read
from dask_sluice.wire.processes import is_alive, process_stat

from ..server.backends.local_harness import make_stage

PATIENCE_S = 30


class Talk:
    """A connection to a nursery."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.events: list[dict[str, Any]] = []

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.socket.sendall(json.dumps({"op": op, "id": 7, **fields}).encode() + b"\n")
        while "id" not in (message := self.next()):
            self.events.append(message)
        return message

    def next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.lines.readline())
        return message

    def end_of(self, job: str) -> dict[str, Any]:
        while not (found := [event for event in self.events if event["job"] == job]):
            self.events.append(self.next())
        return found[0]

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class Nursery:
    """A nursery process over a directory of jobs."""

    def __init__(self, directory: Path, *, warm: bool, idle_s: float = 60) -> None:
        self.directory = directory
        self.stage = make_stage(directory / "stage", warm=warm)
        self.jobs = directory / "jobs"
        self.jobs.mkdir()
        self.path = directory / "n.sock"
        self.log = directory / "nursery.log"
        self.talks: list[Talk] = []
        self.process = self._start(idle_s)

    def _start(self, idle_s: float) -> subprocess.Popen[bytes]:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with socket.socket(socket.AF_UNIX) as listener, self.log.open("ab") as log:
            listener.bind(str(self.path))
            listener.listen()
            process = subprocess.Popen(
                [sys.executable, str(self.stage), "nursery"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
                env=variables,
            )
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(json.dumps({"listen_fd": listener.fileno(), "idle_s": idle_s}).encode())
        return process

    def talk(self) -> Talk:
        self.talks.append(Talk(self.path))
        return self.talks[-1]

    def fork(self, job: str, play: str, **changes: Any) -> dict[str, Any]:
        """What the server would ask for."""
        launch = self.jobs / f"{job}.json"
        launch.write_text(json.dumps({"role": "worker", "play": play}))
        files = {name: str(self.jobs / f"{job}.{end}") for name, end in ENDINGS.items()}
        fork: dict[str, Any] = {
            "job": job,
            "launch": str(launch),
            "cwd": str(self.jobs),
            "user": None,
            "variables": {},
            **files,
        }
        return {**fork, **changes}

    def close(self) -> None:
        for talk in self.talks:
            talk.close()
        for path in self.jobs.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)
        self.process.kill()
        self.process.wait()


ENDINGS = {"log": "log", "mark": "pid", "exit": "exit", "last_words": "why"}


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path, warm=False)
    yield nursery
    nursery.close()


def read_report(nursery: Nursery, talk: Talk, job: str) -> dict[str, Any]:
    assert talk.end_of(job)["exit_code"] == 0, (nursery.jobs / f"{job}.log").read_text()
    report: dict[str, Any] = json.loads((nursery.jobs / "report.json").read_text())
    return report


def test_a_fork_leads_its_own_session_and_leaves_a_mark(nursery: Nursery) -> None:
    answer = nursery.talk().ask("fork", **nursery.fork("one", "stay"))
    assert is_alive(answer["pid"], answer["start_time"])
    stat = process_stat(answer["pid"])
    assert stat is not None
    assert (stat.session, stat.group, stat.parent) == (stat.pid, stat.pid, nursery.process.pid)
    assert (nursery.jobs / "one.pid").read_text() == f"{answer['pid']} {answer['start_time']}\n"


def test_a_fork_is_a_clean_process(nursery: Nursery) -> None:
    talk = nursery.talk()
    nursery.talk()  # another connection, which the child must not keep
    talk.ask("fork", **nursery.fork("other", "stay"))
    talk.ask("fork", **nursery.fork("one", "report", variables={"COLOUR": "blue"}))
    report = read_report(nursery, talk, "one")
    assert report["umask"] == "0077"
    assert report["cwd"] == str(nursery.jobs)
    assert report["session"] == report["pid"]
    assert report["sigterm_is_default"]
    assert report["variables"]["COLOUR"] == "blue"
    assert report["variables"]["SLUICE_LAUNCH"] == str(nursery.jobs / "one.json")
    assert report["warm"]
    assert report["fds"] == [0, 1, 2, 3], "3 is the directory being listed"


def test_how_a_child_ended_is_written_and_told_to_all(nursery: Nursery) -> None:
    first, second = nursery.talk(), nursery.talk()
    second.ask("ping")
    first.ask("fork", **nursery.fork("one", "die"))
    for talk in (first, second):
        assert talk.end_of("one")["exit_code"] == 3
    written = json.loads((nursery.jobs / "one.exit").read_text())
    assert (written["exit_code"], written["signal"]) == (3, "")
    assert "No module named 'x'" in (nursery.jobs / "one.log").read_text()


def test_a_killed_child_ends_with_the_name_of_the_signal(nursery: Nursery) -> None:
    talk = nursery.talk()
    os.kill(talk.ask("fork", **nursery.fork("one", "stay"))["pid"], signal.SIGKILL)
    end = talk.end_of("one")
    assert (end["exit_code"], end["signal"], end["oom"]) == (None, "SIGKILL", False)


def test_the_out_of_memory_killer_is_named_only_for_its_own_signal() -> None:
    assert how_it_ended(-signal.SIGKILL, oom_killer_worked=True)["oom"]
    assert not how_it_ended(-signal.SIGKILL, oom_killer_worked=False)["oom"]
    assert not how_it_ended(-signal.SIGSEGV, oom_killer_worked=True)["oom"]
    assert how_it_ended(-60, oom_killer_worked=False)["signal"] == "signal 60"


def test_the_same_job_is_not_forked_twice(nursery: Nursery) -> None:
    talk = nursery.talk()
    talk.ask("fork", **nursery.fork("one", "stay"))
    assert talk.ask("fork", **nursery.fork("one", "stay"))["error"] == "File exists"
    assert len(talk.ask("list")["children"]) == 1


def test_a_fork_that_cannot_be_says_why_and_leaves_no_mark(nursery: Nursery) -> None:
    talk = nursery.talk()
    answer = talk.ask("fork", **nursery.fork("one", "stay", cwd="/no/such/directory"))
    assert (answer["error"], answer["path"]) == ("No such file or directory", "/no/such/directory")
    assert not (nursery.jobs / "one.pid").exists()
    assert talk.ask("list")["children"] == []
    assert not (nursery.jobs / "one.exit").exists()


def test_a_full_disk_is_told(nursery: Nursery) -> None:
    answer = nursery.talk().ask("fork", **nursery.fork("one", "stay", mark="/dev/full", log="/dev/full"))
    assert "error" in answer


def test_links_planted_for_logs_and_marks_are_not_followed(nursery: Nursery) -> None:
    talk = nursery.talk()
    victim = nursery.directory / "victim"
    for name in ("log", "mark"):
        link = nursery.jobs / f"planted-{name}"
        link.symlink_to(victim)
        assert "error" in talk.ask("fork", **nursery.fork("one", "stay", **{name: str(link)}))
    assert not victim.exists()


def test_a_link_planted_for_the_exit_file_is_replaced_not_followed(nursery: Nursery) -> None:
    talk = nursery.talk()
    victim = nursery.directory / "victim"
    victim.write_text("precious")
    (nursery.jobs / "one.exit").symlink_to(victim)
    talk.ask("fork", **nursery.fork("one", "die"))
    talk.end_of("one")
    assert victim.read_text() == "precious"
    assert json.loads((nursery.jobs / "one.exit").read_text())["exit_code"] == 3


def test_children_outlive_the_nursery(nursery: Nursery) -> None:
    answer = nursery.talk().ask("fork", **nursery.fork("one", "stay"))
    nursery.process.kill()
    nursery.process.wait()
    assert is_alive(answer["pid"], answer["start_time"])


BORN_ALONE = """
import os, sys
from dask_sluice.agent import nursery_child
place = sys.argv[1]
told, tell = os.pipe()
os.close(told)  # the nursery has been killed
if (child := os.fork()) == 0:
    names = {name: f"{place}/{name}" for name in ("launch", "log", "mark", "exit", "last_words")}
    fork = {"job": "one", "cwd": place, "user": None, "variables": {}, **names}
    nursery_child.run(fork, tell, lambda launch: open(f"{place}/ran", "w").close())
os.waitpid(child, 0)
"""


def test_a_child_goes_on_whose_nursery_was_killed_before_it_could_say_that_it_is_ready(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BORN_ALONE, str(tmp_path)], check=True, timeout=PATIENCE_S)
    assert (tmp_path / "mark").exists()
    assert (tmp_path / "ran").exists(), (tmp_path / "log").read_text()


def test_it_quits_when_told_but_not_while_it_has_children(nursery: Nursery) -> None:
    talk = nursery.talk()
    pid = talk.ask("fork", **nursery.fork("one", "stay"))["pid"]
    assert talk.ask("quit")["error"] == "it has children"
    os.kill(pid, signal.SIGKILL)
    talk.end_of("one")
    assert talk.ask("quit")["quitting"]
    assert nursery.process.wait(PATIENCE_S) == 0


def test_it_quits_by_itself_when_nobody_needs_it(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, warm=False, idle_s=0.2)
    talk = nursery.talk()
    talk.ask("ping")
    with pytest.raises(subprocess.TimeoutExpired):
        nursery.process.wait(0.5)  # somebody is connected
    talk.close()
    assert nursery.process.wait(PATIENCE_S) == 0
    nursery.close()


def test_a_server_that_was_killed_finds_it_again(nursery: Nursery) -> None:
    first = nursery.talk()
    first.ask("fork", **nursery.fork("one", "stay"))
    first.close()
    assert [child["job"] for child in nursery.talk().ask("list")["children"]] == ["one"]


@pytest.mark.parametrize("nonsense", [b"\xff\xfe\n", b"[]\n", b"{}\n", b'{"op": 1, "id": []}\n', b"x" * 1_100_000])
def test_nonsense_ends_the_connection_and_nothing_else(nursery: Nursery, nonsense: bytes) -> None:
    talk = nursery.talk()
    with contextlib.suppress(ConnectionError):
        talk.socket.sendall(nonsense)
    other = nursery.talk()
    assert other.ask("ping")["pid"] == nursery.process.pid


def test_many_forks_at_once_are_all_answered(nursery: Nursery) -> None:
    talk = nursery.talk()
    for number in range(50):
        fork = nursery.fork(f"job-{number}", "stay")
        talk.socket.sendall(json.dumps({"op": "fork", "id": number, **fork}).encode() + b"\n")
    assert sorted(talk.next()["id"] for _ in range(50)) == list(range(50))
    assert len(talk.ask("list")["children"]) == 50


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else to try")
def test_another_account_is_not_let_in(nursery: Nursery) -> None:
    nursery.talk().ask("ping")
    for path in (nursery.directory, *nursery.directory.parents):
        if path.owner() == "root" and str(path).startswith("/tmp/pytest"):
            path.chmod(0o755)
    nursery.path.chmod(0o777)
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(nursery.path)!r}); print(s.recv(1))"
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("no Python that every account can run")
    answer = subprocess.run([python, "-c", program], user=65534, cwd="/", capture_output=True, timeout=PATIENCE_S)
    assert answer.stdout == b"b''\n", answer


def test_variables_that_a_fork_cannot_take_over_are_known() -> None:
    present: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "PATH": "/bin"}
    assert needs_new_interpreter({"OMP_NUM_THREADS": "4"}, present)
    assert needs_new_interpreter({"PYTHONPATH": "/x"}, present)
    assert not needs_new_interpreter({"OMP_NUM_THREADS": "1", "PATH": "/x", "DASK_X": "1"}, present)


@pytest.mark.parametrize(
    ("variable", "late"),
    [
        ("DASK_MINE__READ_EARLY", True),
        ("DASK_MINE", True),
        ("DASK_MINE__READ_EARLY__INSIDE", True),
        ("DASK_MINE__READ_EARLY_TOO", False),
        ("DASK_MINE__READ_LATER", False),
        ("DASK_LOGGING__DISTRIBUTED", True),
        ("DASK_CONFIG", True),
    ],
)
def test_configuration_that_an_import_has_read_is_known(variable: str, late: bool) -> None:
    with noting_what_is_read():
        dask.config.get("mine.read-early", None)
    dask.config.get("mine.read-later", None)
    assert needs_new_interpreter({variable: "1"}, {}) == late
    assert not needs_new_interpreter({variable: "1"}, {variable: "1"})


def test_such_a_variable_starts_a_new_interpreter_instead(nursery: Nursery) -> None:
    talk = nursery.talk()
    talk.ask("fork", **nursery.fork("one", "report", variables={"OMP_NUM_THREADS": "4"}))
    report = read_report(nursery, talk, "one")
    assert report["variables"]["OMP_NUM_THREADS"] == "4"
    assert report["fds"] == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """With distributed imported: seconds to start, so one for all."""
    nursery = Nursery(tmp_path_factory.mktemp("warm"), warm=True)
    nursery.talk().ask("ping")
    yield nursery
    nursery.close()


def test_warm_it_has_one_thread_and_no_open_sockets_but_its_own(warm: Nursery) -> None:
    pid = warm.process.pid
    assert len(os.listdir(f"/proc/{pid}/task")) == 1
    targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert sum(target.startswith("socket:") for target in targets) == 1 + len(warm.talks)


def test_warm_forks_share_no_randomness(warm: Nursery) -> None:
    talk = warm.talk()
    reports = []
    for number in range(2):
        talk.ask("fork", **warm.fork(f"random-{number}", "report"))
        reports.append(read_report(warm, talk, f"random-{number}"))
    first, second = reports
    assert first["random"] != second["random"]
    assert first["authkey"] != second["authkey"]
    assert first["numpy"] is not None
    assert first["numpy"] != second["numpy"]


def test_a_warm_fork_runs_the_agent_within_milliseconds(warm: Nursery) -> None:
    talk = warm.talk()
    times = []
    for number in range(10):
        fork = warm.fork(f"fast-{number}", "stay")
        began = time.perf_counter()
        talk.ask("fork", **fork)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02, times  # 3 ms on an idle machine
