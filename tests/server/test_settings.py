"""A settings file is taken as it is written, or refused with file, line, key and the nearest right thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dask_sluice.server.identity.passwords import hash_password
from dask_sluice.server.settings import Settings, SettingsError, describe, load, reference
from dask_sluice.server.settings_file import loads
from dask_sluice.server.settings_reference import keys_at, schema_at

FILE = Path("/etc/sluice/sluice.yaml")


def refused(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loads(text, FILE)
    return caught.value.problems


def test_no_file_is_needed_and_an_empty_one_means_the_same() -> None:
    assert loads("", FILE) == loads("# nothing yet\n", FILE) == loads("{}", FILE) == Settings()


def test_every_section_can_be_set(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    file = tmp_path / "sluice.yaml"
    file.write_text(
        """
        listen: {address: 0.0.0.0, port: 0, prefix: /dask, tls_certificate: cert.pem, tls_key: key.pem,
                 public_url: "https://dask.example.org/dask/", dask_address: "dask.example.org:8786"}
        data_dir: data
        authenticator: {kind: token, admins: [ada]}
        backend: {kind: local, local: {stop_grace_s: 1}}
        options: {worker_memory: {default: 4, maximum: 64}, environment: {allowed: ["/opt/envs/*"]}}
        limits: {cluster: {workers: 20}}
        leases: {idle: {default: 3600}}
        usage: {prices: {core_hour: 0.02}, budgets: {per_user: {amount: 50}, users: {ada: null}}}
        on_stop: keep_clusters
        log: {level: debug, format: json}
        """
    )
    settings = load(file)
    assert settings.listen.tls_certificate == tmp_path / "cert.pem"
    assert settings.listen.public_url == "https://dask.example.org/dask"
    assert settings.data_dir == tmp_path / "data", "relative paths count from the file's folder"
    assert settings.backend.local.stop_grace_s == 1.0
    assert settings.options["worker_memory"].maximum == 64.0
    assert settings.authenticator.admins == {"ada"}


@pytest.mark.parametrize("there", [True, False])
def test_a_secret_that_is_read_anew_each_time_is_known_by_its_file_alone(tmp_path: Path, there: bool) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("authenticator: {kind: jupyterhub, jupyterhub: {service_token: {file: token}}}")
    if there:
        (tmp_path / "token").write_text("from the hub\n")
    assert load(file).authenticator.jupyterhub.service_token == tmp_path / "token"
    written = loads("authenticator: {kind: jupyterhub, jupyterhub: {service_token: from the hub}}", FILE)
    assert written.authenticator.jupyterhub.service_token == SecretStr("from the hub")
    (problem,) = refused("authenticator: {kind: jupyterhub, jupyterhub: {service_token: 5}}")
    assert "service_token" in problem
    assert "'file:' with the path" in problem


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("listen:\n  prt: 1", 2, ["unknown key 'prt' in listen", "Did you mean 'port'?", "address, port, prefix"]),
        ("lisen: {}", 1, ["unknown key 'lisen'", "Did you mean 'listen'?"]),
        ("backend:\n  local:\n    stop_grace: 3", 3, ["'stop_grace' in backend.local", "Did you mean 'stop_grace_s'?"]),
        ('listen:\n  port: "8000"', 2, ["listen.port must be a whole number from 0 to 65535", 'got "8000"']),
        ("listen:\n  port: 70000", 2, ["from 0 to 65535", "got 70000"]),
        ("limits:\n  cluster:\n    workers: true", 3, ["a whole number, at least 1", "got true"]),
        ("limits:\n  cluster:\n    workers: 1.5", 3, ["a whole number", "got 1.5"]),
        ("leases:\n  idle:\n    default: -1", 3, ["leases.idle.default must be a number, at least 0", "got -1"]),
        ("leases:\n  idle:\n    default: .nan", 3, ["leases.idle.default must be a number"]),
        ("database: {url: 'mysql://db/sluice'}", 1, ["must be an address such as 'postgresql://sluice@"]),
        ("database: {url: 'postgresql://ada:secret@db/sluice'}", 1, ["must not hold the password"]),
        ("database: {password: secret}", 1, ["a password needs a url"]),
        ("database: {url: 'postgresql://db/sluice'}", 1, ["backend 'local'", "one machine"]),
        (
            "database: {url: 'postgresql://db/sluice'}\nbackend: {kind: fake}\non_stop: stop_clusters",
            1,
            ["would end the clusters of all servers"],
        ),
        ("on_stop: maybe", 1, ["on_stop must be one of 'stop_clusters', 'keep_clusters'", 'got "maybe"']),
        ("listen:", 1, ["listen must be keys with values, out of address, port, prefix", "got null"]),
        ("options:\n  environment:\n    allowed:\n    - /opt\n    - 3", 5, ["allowed.1 must be text", "got 3"]),
        ("options:\n  worker_cores: {default: 1, minimum: 2}", 2, ["must keep minimum <= default <= maximum"]),
        ("listen:\n  tls_key: nowhere.pem", 2, ["there is no file /etc/sluice/nowhere.pem"]),
        ("listen:\n  prefix: dask/", 2, ["a leading slash, no trailing one"]),
        ("listen:\n  public_url: dask.example.org", 2, ["https://dask.example.org"]),
        ("listen:\n  dask_address: dask.example.org", 2, ["a host and a port"]),
        ("backend:\n  kind: fake\n  local: {}", 1, ["has settings for 'local', but its kind is 'fake'"]),
        ("backend:\n  kind: local\n  settings: {a: 1}", 1, ["go into a section 'local'"]),
        ("authenticator:\n  kind: basic", 1, ["needs the section 'basic'"]),
        ("authenticator: {kind: basic, basic: {}}", 1, ["users", "or one shared password"]),
        ("authenticator:\n  kind: a b", 2, ["a short name or an import path"]),
        ("authenticator:\n  admins: ['-rf']", 2, ["a user name has letters"]),
        ("usage:\n  prices: {core_hour: -1}", 2, ["usage.prices.core_hour must be a number, at least 0; got -1"]),
        ("usage:\n  prices: {currency: euro}", 2, ["three capital letters such as 'EUR'"]),
        ("usage:\n  budgets:\n    per_user: {amuont: 1, amount: 1}", 3, ["unknown key 'amuont'", "mean 'amount'?"]),
        ("usage:\n  budgets:\n    users:\n      ada: {}", 4, ["usage.budgets.users.ada.amount is missing"]),
        ("usage:\n  budgets:\n    groups: {maths: {amount: 1, period: year}}", 3, ["'day', 'week', 'month'"]),
        ("usage:\n  budgets:\n    ada: {amount: 1}", 3, ["unknown key 'ada'", "it belongs under 'users' or 'groups'"]),
        ("usage:\n  budgets: {drain_at: 0.9}", 2, ["usage.budgets.drain_at must be a number, at least 1; got 0.9"]),
        ("metrics: {token: short}", 1, ["metrics.token must be text of at least 16 characters or `file:`"]),
        ("metrics: {token: {file: nowhere}}", 1, ["metrics.token: the file /etc/sluice/nowhere cannot be read"]),
        ("metrics: {token: {fil: x}}", 1, ["metrics.token: must be the secret itself, or 'file:' with the path"]),
        ("listen: {for_proxies: 10.0.0.1:80}", 1, ["for_proxies needs agent_url"]),
        ("usage:\n  budgets: {warn_at: 80}", 2, ["usage.budgets.warn_at must be", "at most 1; got 80"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_accepted(text: str, line: int, words: list[str]) -> None:
    (problem,) = refused(text)
    assert problem.startswith(f"{FILE}, line {line}: ")
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("listen:\n  port: 1\n  port: 2", "line 3", "the key 'port' is given twice; the first is on line 2"),
        ("listen: [", "line 1", "is not YAML"),
        ("\tlisten: {}", "line 1", "is not YAML"),
        ("- 1", "line 1", "expected keys such as 'listen:'"),
        ("hello", "line 1", "expected keys such as 'listen:'"),
        ("a: &x 1\nb: *x", "line 1", "is not supported: write it out"),
        ("a: !!python/object/apply:os.getcwd {}", "line 1", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "line 2", "is not YAML"),
        ("a: \x01", FILE.name, "is not YAML"),
        ("? [1]\n: 2", "line 1", "is not YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(text: str, where: str, words: str) -> None:
    (problem,) = refused(text)
    assert where in problem
    assert words in problem


def test_all_mistakes_are_told_at_once_in_the_order_of_lines() -> None:
    problems = refused("log: {level: loud}\nlimits: {cluster: {workers: 0}}\nlisten: {prt: 1}")
    assert [problem.split(": ")[0] for problem in problems] == [f"{FILE}, line {n}" for n in (1, 2, 3)]


def test_a_missing_file_and_one_that_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no configuration file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"data_dir: /caf\xe9")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "latin.yaml")


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    with pytest.raises(SettingsError, match="belong together"):
        loads("listen: {tls_certificate: cert.pem}", tmp_path / "c.yaml")


def test_a_password_in_clear_among_the_users_is_refused_and_not_repeated() -> None:
    (problem,) = refused("authenticator: {kind: basic, basic: {users: {ada: hunter2}}}")
    assert "must be the hash of a password" in problem
    assert "hunter2" not in problem
    (problem,) = refused("authenticator: {kind: basic, basic: {password: 12345}}")
    assert "12345" not in problem


def test_secrets_are_masked_where_settings_are_shown() -> None:
    stored = hash_password("hunter2")
    settings = loads(f"authenticator: {{kind: basic, basic: {{users: {{ada: '{stored}'}}}}}}", FILE)
    shown = describe(settings)
    assert 'authenticator.basic.users.ada = "**********"' in shown
    assert stored not in shown + repr(settings)


def test_settings_never_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().listen.port = 1  # type: ignore[misc]


def test_every_key_has_its_line_in_the_reference_with_a_description() -> None:
    page = reference()
    missing = []

    def look(path: tuple[str, ...]) -> None:
        for key in keys_at(path):
            inner = (*path, key)
            if keys_at(inner) or keys_at((*inner, "NAME")):
                inner = inner if keys_at(inner) else (*inner, "NAME")
                _, heading, section = page.partition(f"## {'.'.join(inner)}\n")
                assert heading
                if "The same keys as" not in section.partition("##")[0]:
                    look(inner)
            elif f"| `{'.'.join(inner)}` |" not in page or len((schema_at(inner) or {}).get("description", "")) < 15:
                missing.append(inner)

    look(())
    assert missing == []


def test_the_reference_that_is_checked_in_is_the_one_that_the_command_prints() -> None:
    """After a change of a setting: `dask-sluice config-reference > docs/configuration.md`."""
    file = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert file.read_text() == reference()


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fall_over(text: str) -> None:
    try:
        loads(text, FILE)
    except SettingsError as error:
        assert error.problems


def test_reading_settings_brings_in_neither_dask_nor_the_server() -> None:
    code = (
        "import sys, dask_sluice.server.settings; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('dask', 'distributed', 'fastapi', 'sqlalchemy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_secret_can_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-secret-of-16-characters-or-more\n")
    config = tmp_path / "sluice.yaml"
    config.write_text("metrics: {token: {file: token}}")  # from the folder of the file that names it
    settings = load(config)
    assert settings.metrics.token is not None
    assert settings.metrics.token.get_secret_value() == "a-secret-of-16-characters-or-more"
    assert "a-secret" not in repr(settings) + describe(settings)
    (tmp_path / "token").write_text("too-short")
    with pytest.raises(SettingsError) as refused:
        load(config)
    assert "of at least 16 characters" in str(refused.value)
    assert "too-short" not in str(refused.value)
