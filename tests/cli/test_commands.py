"""The command line against a real server: what it prints, and with which exit code it ends."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dask_sluice import __version__
from dask_sluice.cli import exits, output

from ..live import LiveServer


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dask_sluice", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_cluster_from_new_to_stop(live_server: LiveServer) -> None:
    here = ("--data-dir", live_server.data_dir)
    made = run("new", "--workers", "1", "-o", "worker_memory=0.5", *here)
    name = made.stdout.strip()
    assert (made.returncode, made.stderr) == (0, "")

    listed = json.loads(run("list", "--json", *here).stdout)
    assert name in [each["name"] for each in listed]
    row = next(line for line in run("list", *here).stdout.splitlines() if line.startswith(name))
    assert "running" in row

    assert run("scale", name, "2", *here).returncode == 0
    clamped = run("adapt", name, "--maximum", "100000", *here)
    assert clamped.returncode == 0
    assert "100000 workers were asked for; the limit is" in clamped.stderr

    shown = run("show", name, *here).stdout
    assert f"{name}: running, running" in shown
    assert "worker_memory=0.5" in shown
    assert "asked for adaptive scaling between 0 and " in shown
    assert "Register worker" in run("logs", name, *here).stdout
    assert run("logs", name, "--worker", "worker-1", *here).stdout

    assert len(run("logs", name, "--lines", "2", *here).stdout.splitlines()) == 2

    following = subprocess.Popen(
        [sys.executable, "-m", "dask_sluice", "logs", name, "--follow", *map(str, here)],
        stdout=subprocess.PIPE,
        text=True,
    )
    stopped = run("stop", name, *here)
    followed, _ = following.communicate(timeout=100)
    assert (following.returncode, "Register worker" in followed) == (0, True)
    assert (stopped.returncode, stopped.stderr) == (0, f"stopping {name}\n")


def test_usage_is_shown_and_given_to_programs(live_server: LiveServer) -> None:
    here = ("--data-dir", live_server.data_dir)
    name = run("new", *here).stdout.strip()
    run("stop", name, *here)

    shown = run("usage", "--since", "1h", "--by", "cluster,day", *here)
    assert shown.returncode == 0
    assert shown.stdout.split()[:5] == ["CLUSTER", "DAY", "CORE-HOURS", "GIB-HOURS", "GPU-HOURS"]
    assert re.search(rf"^{name} +20..-..-.. +0\.0. +0\.0. +0\.00 +0\.00 EUR", shown.stdout, re.MULTILINE)
    assert re.match(r"used from 20.* until 20.* UTC\n", shown.stderr)
    as_json = json.loads(run("usage", "--format", "json", "--by", "cluster", *here).stdout)
    assert {"cluster": name} in [row["key"] for row in as_json["rows"]]
    assert run("usage", "--format", "csv", *here).stdout.startswith("user,process_hours,core_hours,")
    assert f",{name}," in run("usage", "--format", "focus", *here).stdout
    nothing = run("usage", "--since", "2020-01-01", "--until", "2020-02-01", *here)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "nothing was used from 2020-01-01 00:00 UTC until 2020-02-01 00:00 UTC\n"


def test_stop_wants_names_or_all_and_not_both(live_server: LiveServer) -> None:
    assert run("stop").returncode == exits.USAGE
    assert run("stop", "a", "--all").returncode == exits.USAGE


def test_a_dry_run_prints_what_a_cluster_would_get(live_server: LiveServer) -> None:
    shown = run("new", "--dry-run", "-o", "worker_memory=0.5", "--address", live_server.url)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^worker\.memory +512 MiB +option worker_memory *$", shown.stdout, re.MULTILINE)
    told = json.loads(run("new", "--dry-run", "--json", "--address", live_server.url).stdout)
    assert told["options"]["environment"] == ""


def test_options_are_listed_with_what_they_accept(live_server: LiveServer) -> None:
    listed = run("options", "--address", live_server.url).stdout
    assert re.search(r"^worker_memory +float 0\.25 to .* GiB +2\.0", listed, re.MULTILINE)


def test_the_doctor_finds_a_healthy_server_healthy(live_server: LiveServer) -> None:
    seen = run("doctor", "--address", live_server.url)
    assert seen.stdout.splitlines()[-1] == "everything works"
    assert [line.split()[0] for line in seen.stdout.splitlines()[:-1]] == [
        "address", "name", "network", "server", "health", "login", "options", "scheduler",
        "proxy", "worker", "compute", "dashboard", "public_url", "stop",
    ]  # fmt: skip


def test_a_drained_server_says_so_everywhere_and_takes_clusters_again(own_server: LiveServer) -> None:
    where = ("--address", own_server.url)
    begun = run("drain", "-m", "back at 14:00", *where)
    assert begun.returncode == 0
    assert re.search(r"^draining since .* by .*: back at 14:00; 0 clusters left$", begun.stdout.strip())
    refused = run("new", *where)
    assert refused.returncode == exits.FAILED
    assert "the server is being drained (back at 14:00)" in refused.stderr
    examined = run("doctor", *where)
    assert "being drained (back at 14:00)" in examined.stdout
    assert "scheduler is broken: the server is being drained" in examined.stderr
    own_server.kill()
    own_server.start()
    assert json.loads(run("drain", "--show", "--json", *where).stdout)["message"] == "back at 14:00"
    assert run("drain", "--off", "--show", *where).returncode == exits.USAGE
    assert run("drain", "--off", *where).stdout == "not draining: new clusters are taken; there are 0 clusters\n"


def test_a_backup_is_made_while_the_server_runs_and_put_back_while_it_does_not(
    own_server: LiveServer, tmp_path: Path
) -> None:
    here, file = ("--data-dir", own_server.data_dir), tmp_path / "backup.tar.gz"
    name = run("new", *here).stdout.strip()
    assert run("backup", file, *here).returncode == 0
    refused = run("restore", file, *here)
    assert (refused.returncode, "already runs" in refused.stderr) == (exits.FAILED, True)
    own_server.kill()
    restored = run("restore", file, *here)
    assert restored.returncode == 0, restored.stderr
    assert "sluice.db.before-" in restored.stderr
    own_server.start()
    assert f"{name}: running" in run("show", name, *here).stdout


def test_the_doctor_names_the_broken_step(live_server: LiveServer) -> None:
    nobody = run("doctor", "--address", "http://127.0.0.1:9")
    assert nobody.returncode == exits.FAILED
    assert "network is broken: nothing listens at 127.0.0.1, port 9" in nobody.stderr
    stranger = run("doctor", "--address", live_server.address + "/?token=wrong", "--json")
    assert "login is broken" in stranger.stderr
    assert [step["step"] for step in json.loads(stranger.stdout)][-1] == "login"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["lst"], exits.USAGE, "Did you mean 'list'?"),
        (["new", "-o", "worker_memory"], exits.USAGE, "must look like NAME=VALUE"),
        (["new", "-o", "worker_memry=3"], exits.USAGE, "Did you mean 'worker_memory'"),
        (["show", "nobody-1"], exits.NOT_FOUND, "nobody-1"),
        (["scale", "nobody-1", "-3"], exits.USAGE, "-3"),
        (["logs", "nobody-1"], exits.NOT_FOUND, "nobody-1"),
        (["usage", "--since", "yesterday"], exits.USAGE, "since: must be a date such as 2026-11-01"),
        (["usage", "--by", "usr"], exits.USAGE, "by: must be out of user, group"),
        (["usage", "--format", "xml"], exits.USAGE, "'focus'"),
    ],
)
def test_mistakes_end_with_a_sentence_and_their_code(
    live_server: LiveServer, arguments: list[str], code: int, sentence: str
) -> None:
    where = [] if arguments == ["lst"] else ["--address", live_server.url]
    ended = run(*arguments[:1], *where, *arguments[1:])
    assert ended.returncode == code
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_who_is_not_let_in_is_told_so(live_server: LiveServer) -> None:
    assert run("list", "--address", live_server.address + "/?token=no").returncode == exits.REFUSED


def test_where_no_server_runs_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    ended = run("list", "--data-dir", tmp_path)
    assert ended.returncode == exits.UNREACHABLE
    assert "dask-sluice serve" in ended.stderr


def test_a_wrong_configuration_is_refused_with_line_and_nearest_key(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("listen:\n  prot: 8000\n")
    for ended in (run("check-config", file), run("serve", "--config", file)):
        assert ended.returncode == exits.USAGE
        assert f"{file}, line 2" in ended.stderr
        assert "port" in ended.stderr
    file.write_text("listen:\n  port: 8001\n")
    fine = run("check-config", file)
    assert fine.returncode == 0
    assert "listen.port = 8001" in fine.stdout


def test_a_taken_port_is_named(live_server: LiveServer, tmp_path: Path) -> None:
    port = live_server.address.rpartition(":")[2]
    ended = run("serve", "--port", port, "--data-dir", tmp_path)
    assert ended.returncode == exits.FAILED
    assert f"port {port}" in ended.stderr
    assert "--port 0" in ended.stderr


def test_a_second_server_on_the_same_data_is_refused(live_server: LiveServer) -> None:
    ended = run("serve", "--port", "0", "--data-dir", live_server.data_dir)
    assert ended.returncode == exits.FAILED
    assert str(live_server.data_dir) in ended.stderr


def test_serve_stops_when_it_is_asked_to(own_server: LiveServer) -> None:
    assert own_server.stop() == 0
    assert own_server.log.rstrip().endswith("stopped")
    own_server.start()


def test_version_and_reference_need_no_server() -> None:
    assert run("version").stdout == __version__ + "\n"
    assert "listen.port" in run("config-reference").stdout


def test_help_names_every_command_and_every_exit_code() -> None:
    text = run("--help").stdout
    for command in ("serve", "list", "show", "new", "scale", "stop", "logs", "options", "doctor", "check-config"):
        assert re.search(rf"^  {command} ", text, re.MULTILINE)
    for code in exits.EXITS:
        assert re.search(rf"^  {code}  ", text, re.MULTILINE)


def test_serve_never_imports_distributed_and_the_help_imports_next_to_nothing() -> None:
    program = (
        "import sys; from dask_sluice.cli import main, serve; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("distributed", "dask'", "fastapi", "sqlalchemy", "httpx"):
        assert f"'{heavy.rstrip(chr(39))}'" not in loaded


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (61, "1 min"), (3600 * 3 + 1200, "3 h 20 min"), (86400 * 2, "2 d")]
)
def test_ages_are_said_in_words(seconds: int, said: str) -> None:
    assert output.age(1000.0, 1000.0 + seconds) == said
