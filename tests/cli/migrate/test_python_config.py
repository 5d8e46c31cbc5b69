"""A configuration in Python is followed, never run; what cannot be followed is said, with its text and line."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from dask_sluice.cli.migrate.accepted import with_an_image
from dask_sluice.cli.migrate.gateway import Migration
from dask_sluice.cli.migrate.python_config import PythonConfig
from dask_sluice.cli.migrate.report import Report, Where
from dask_sluice.cli.migrate.symbols import Opaque
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.settings_file import loads


def read(text: str) -> PythonConfig:
    config = PythonConfig(Report())
    config.read(dedent(text), lambda line: Where("x.py", line))
    return config


def value(expression: str, before: str = "") -> Any:
    (assigned,) = read(f"{dedent(before)}\nc.A.b = {expression}\n").assigned
    return assigned.value


def migrated(text: str, tmp_path: Path) -> Migration:
    file = tmp_path / "dask_gateway_config.py"
    file.write_text(dedent(text))
    migration = Migration()
    migration.read((file,))
    return migration


def test_nothing_of_it_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"""
        import os, subprocess
        open({str(trap)!r}, "w")
        os.system("touch {trap}")
        __import__("os").system("touch {trap}")
        c.A.b = [subprocess.run(["touch", {str(trap)!r}]) for _ in range(3)]
        c.A.c = (lambda: exec("open({str(trap)!r}, 'w')"))()
    """
    before = set(sys.modules)
    assert all("Opaque" in repr(each.value) for each in read(text).assigned)
    assert not trap.exists()
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1024 ** 2", 2**20),
        ("-2 * (3 + 4) // 5", -3),
        ("'%.1fG' % 7.5", "7.5G"),
        ("'{} {}'.format('a', 1)", "a 1"),
        ("f'{1 + 1}G'", "2G"),
        ("{**{'a': 1}, 'b': 2}", {"a": 1, "b": 2}),
        ("dict({'a': 1}, b=2)", {"a": 1, "b": 2}),
        ("[n * 2 for n in (1, 2, 3) if n > 1]", [4, 6]),
        ("{k: v[0] for k, v in {'a': (1, 2)}.items()}", {"a": 1}),
        ("sorted({'b': 1, 'a': 2}.keys())", ["a", "b"]),
        ("[*'' .split(), 'x']", ["x"]),
        ("'yes' if 2 in [1, 2] and not False else 'no'", "yes"),
        ("{'a': {'b': 5}}['a'].get('b', 1)", 5),
        ("True", True),
        ("None", None),
    ],
)
def test_what_stands_in_the_text_is_understood(expression: str, expected: Any) -> None:
    assert value(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "os.environ['X']",
        "9 ** 9 ** 9",
        "'a' * 10 ** 9",
        "open('/etc/passwd').read()",
        "(1).__class__",
        "[x for x in iter(int, 1)]",
        "1 / 0",
        "unknown",
        "range(10 ** 9)",
    ],
)
def test_what_does_not_is_kept_as_its_text(expression: str) -> None:
    found = value(expression, "import os")
    assert isinstance(found, Opaque)
    assert found.where.line > 0


def test_endless_recursion_and_endless_tables_end() -> None:
    assert isinstance(value("f(1)", "def f(x):\n    return f(x + 1)"), Opaque)
    huge = "def f(n):\n    return [f(n - 1), f(n - 1)] if n else 0\n"
    assert "Opaque" in repr(value("f(11) + f(11) + f(11) + f(11)", huge))[-400:]
    deep = "x = " + "(" * 300 + "1" + ")" * 300 + "\nc.A.b = 1\n"
    read(deep)
    read("c.A.b = " + "-" * 100_000 + "1\n")


def test_statements_are_followed() -> None:
    config = read("""
        c = get_config()
        NAMES = ["a", "b"]
        table = {}
        for number, name in [(1, "x"), (2, "y")]:
            table[name] = number
        table["z"] = 3
        table.update(w=4)
        NAMES.append("c")
        total = 1
        total += 1
        if len(NAMES) == 3:
            c.A.b = table
        else:
            c.A.b = None
        with open("f") as f:
            c.A.c = total
        try:
            c.A.d = NAMES
        except ValueError:
            pass
    """)
    assert {each.key: each.value for each in config.assigned} == {
        "A.b": {"x": 1, "y": 2, "z": 3, "w": 4},
        "A.c": 2,
        "A.d": ["a", "b", "c"],
    }


def test_a_branch_that_cannot_be_decided_is_shown_with_both_sides() -> None:
    text = """
        import os
        if os.environ.get("PROD"):
            size = 10
        else:
            size = 2
        c.A.b = size
    """
    (assigned,) = read(text).assigned
    assert assigned.value.source == "10, or 2 (if os.environ.get('PROD'))"


def test_what_is_no_python_is_said_with_its_line(tmp_path: Path) -> None:
    migration = migrated("c.A.b = 1\nc.A.c = (\n", tmp_path)
    (finding, *_) = [each for each in migration.report.of("decide") if each.where.line]
    assert "is not Python" in finding.what
    assert finding.where.file == "dask_gateway_config.py"


def test_options_without_a_handler_set_what_they_are_called(tmp_path: Path) -> None:
    migration = migrated(
        """
        from dask_gateway_server.options import Float, Integer, Options, Select
        c.Backend.cluster_options = Options(
            Integer("worker_cores", 2, min=1, max=4),
            Float("memory", 2, min=1, max=8, target="worker_memory"),
            Select("threads", [("one", 1), ("two", 2)], target="worker_threads"),
        )
        """,
        tmp_path,
    )
    options = migration.settings.get("options")
    assert options["worker_cores"]["sets"] == {"worker": {"cores": "{options.worker_cores}"}}
    assert options["threads"]["when"] == {"one": {"worker": {"threads": 1}}, "two": {"worker": {"threads": 2}}}


@pytest.mark.parametrize(
    ("returned", "memory", "aside"),
    [
        ("worker_memory_limit=options.mem * 2**30", 4 * 2**30, 2 * 2**30),
        ("worker_memory=options.mem * 2**30", 16 * 2**30, 4 * 2**30),
        ("worker_memory_limit=options.mem * 2**30, worker_memory=options.mem * 2**29", 4 * 2**30, 2 * 2**30),
    ],
)
def test_what_a_handler_leaves_out_of_request_and_limit_is_that_of_the_values(
    returned: str, memory: int, aside: int, tmp_path: Path
) -> None:
    migration = migrated(
        f"""
        from dask_gateway_server.options import Integer, Options
        c.DaskGateway.backend_class = "dask_gateway_server.backends.kubernetes.KubeBackend"
        c.KubeClusterConfig.worker_memory = "2 G"
        c.KubeClusterConfig.worker_memory_limit = "16 G"
        c.Backend.cluster_options = Options(Integer("mem", 4, min=3), handler=lambda options: dict({returned}))
        """,
        tmp_path,
    )
    settings = with_an_image(loads(migration.settings.text(), Path("sluice.yaml")))
    worker = Policy.of(settings, None).resolve(Caller("ada"), "c", {}).worker
    assert (worker.memory_bytes, worker.memory_request_bytes) == (memory, aside)


def test_an_if_over_a_choice_is_a_table(tmp_path: Path) -> None:
    migration = migrated(
        """
        from dask_gateway_server.options import Integer, Options, Select
        def handler(options):
            config = {"worker_cores": 1}
            if options.size == "large":
                config["worker_cores"] = 8
                config["worker_memory"] = 32 * 2**30
            elif options.size == "medium":
                return {"worker_cores": 4}
            return config
        c.Backend.cluster_options = Options(Select("size", ["small", "medium", "large"]), handler=handler)
        """,
        tmp_path,
    )
    assert migration.settings.get("options.size.when") == {
        "small": {"worker": {"cores": 1}},
        "medium": {"worker": {"cores": 4}},
        "large": {"worker": {"cores": 8, "memory": 32 * 2**30}},
    }


def test_what_a_handler_does_beyond_us_is_shown_and_the_rest_kept(tmp_path: Path) -> None:
    migration = migrated(
        """
        import ldap
        from dask_gateway_server.options import Options, String
        def handler(options, user):
            if user.name not in ldap.users():
                raise PermissionError("no account")
            return {"image": options.image, "environment": {"QUOTA": ldap.quota(user.name), "WHO": user.name}}
        c.Backend.cluster_options = Options(String("image"), handler=handler)
        """,
        tmp_path,
    )
    assert migration.settings.get("options.image.sets") == {"image": "{options.image}"}
    assert migration.settings.get("policy.everyone.variables") == {"WHO": "{user.name}"}
    decide = "\n".join(map(str, migration.report.of("decide")))
    assert "dask_gateway_config.py:7: variables.QUOTA: could not be followed: ldap.quota(user.name)" in decide
    assert "user.name not in ldap.users(): the handler refuses this" in decide


def test_braces_of_the_old_configuration_are_no_templates_here(tmp_path: Path) -> None:
    migration = migrated(
        """
        from dask_gateway_server.options import Options, String
        def handler(options):
            return {"environment": {"A": "{x}", "B": f"{{{options.name}}}"}}
        c.Backend.cluster_options = Options(String("name", default="{y}"), handler=handler)
        c.KubeClusterConfig.environment = {"C": "{z}"}
        """,
        tmp_path,
    )
    settings = migration.settings
    assert settings.get("policy.everyone.variables") == {"A": "{{x}}"}
    assert settings.get("options.name.sets.variables") == {"B": "{{{options.name}}}"}
    assert settings.get("options.name.default") == "{{y}}"
    assert settings.get("policy.defaults.variables") == {"C": "{{z}}"}
