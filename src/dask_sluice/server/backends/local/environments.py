"""Which interpreter an environment means, and whether a cluster can run in it.

The interpreter is asked once, by running it as the account that the cluster would run as: so nobody learns of
files that they could not see themselves, and root never runs what somebody else can write.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....wire.errors import EnvironmentInvalid
from .accounts import Account, may_change_accounts

OLDEST_PYTHON = (3, 9)
OLDEST_DISTRIBUTED = (2022, 4, 0)
_MARK = "dask-sluice:"
# Runs in any Python, however old; metadata only, the import itself is the nursery's.
_QUESTION = f"""
import sys
answer = {{"python": list(sys.version_info[:3])}}
if sys.version_info >= (3, 8):
    import sysconfig
    from importlib import metadata
    answer["packages"] = sysconfig.get_path("purelib")
    try:
        answer["distributed"] = metadata.version("distributed")
    except metadata.PackageNotFoundError:
        answer["distributed"] = None
import json
print("{_MARK}" + json.dumps(answer))
"""
_MOST_OUTPUT = 65536


@dataclass(frozen=True)
class Environment:
    """A Python environment that can run a cluster. `packages` is where its packages are."""

    interpreter: str
    packages: str

    @property
    def fingerprint(self) -> str:
        """Changes when a package is installed, upgraded or removed, or the environment is made anew."""
        return "-".join(_changed_at(path) for path in (self.interpreter, self.packages))


def _changed_at(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "gone"
    return f"{found.st_ino}.{found.st_mtime_ns}"


def own_environment() -> Environment:
    """The environment that the server itself runs in."""
    import sysconfig

    return Environment(sys.executable, sysconfig.get_path("purelib"))


def find(path: str, account: Account, timeout_s: float) -> Environment:
    """The environment at `path`: a venv, a conda prefix or an interpreter. Blocks.

    raises  EnvironmentInvalid with the reason as its sentence
    """
    if path.startswith("~/"):
        path = account.home + path[1:]
    if not os.path.isabs(path) or "\0" in path:
        raise EnvironmentInvalid(
            f"the environment {path!r} is not an absolute path",
            hint="Give the full path of a venv, a conda prefix or a Python interpreter.",
        )
    interpreter, output, ended = _ask(path, account, timeout_s)
    marked = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not marked:
        how = "did not answer in time" if ended is None else f"ended with exit code {ended}"
        last = output.strip().splitlines()[-1:] or ["no output"]
        raise EnvironmentInvalid(f"{interpreter} is not a Python that runs: it {how} ({last[0][:300]})")
    return judge(path, interpreter, json.loads(marked[-1].removeprefix(_MARK)))


def judge(path: str, interpreter: str, answer: Mapping[str, Any]) -> Environment:
    """The environment as its interpreter described it, if a cluster can run there."""
    python = tuple(answer["python"])
    if python < OLDEST_PYTHON:
        raise EnvironmentInvalid(
            f"the environment {path} has Python {'.'.join(map(str, python))}; clusters need 3.9 or newer"
        )
    version = answer["distributed"]
    if version is None:
        raise EnvironmentInvalid(
            f"the environment {path} lacks the package distributed",
            hint="Install it there, in the version that your client has: python -m pip install distributed",
        )
    if _release(version) < OLDEST_DISTRIBUTED:
        raise EnvironmentInvalid(f"the environment {path} has distributed {version}; clusters need 2022.4.0 or newer")
    return Environment(interpreter, answer["packages"])


def _release(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _ask(path: str, account: Account, timeout_s: float) -> tuple[str, str, int | None]:
    """Run the question. Interpreter, output, and exit code or None if it took too long."""
    inside = f"{path.rstrip('/')}/bin/python"
    try:
        return inside, *_run(inside, account, timeout_s)
    except NotADirectoryError:  # then it may be an interpreter itself
        pass
    except PermissionError:
        raise EnvironmentInvalid(
            f"the environment {path} cannot be used by {account.name}: {inside} must be readable and executable"
        ) from None
    except FileNotFoundError:
        if _is_missing(path, account, timeout_s):
            raise EnvironmentInvalid(
                f"there is no environment at {path}",
                hint="Environments are paths on the server's machine, where clusters run; yours may be another one.",
            ) from None
        raise EnvironmentInvalid(
            f"{path} is not a Python environment: there is no bin/python in it",
            hint="Give the path of a venv, a conda prefix or a Python interpreter.",
        ) from None
    except OSError as error:
        raise EnvironmentInvalid(f"{inside} cannot be run: {error.strerror}") from None
    try:
        return path, *_run(path, account, timeout_s)
    except PermissionError:
        raise EnvironmentInvalid(f"{path} is not executable by {account.name}") from None
    except OSError as error:
        raise EnvironmentInvalid(f"{path} cannot be run: {error.strerror}") from None


def _is_missing(path: str, account: Account, timeout_s: float) -> bool:
    """Whether nothing is there, as far as the account can see: a directory would give another error when run."""
    try:
        _run(path, account, timeout_s)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _run(interpreter: str, account: Account, timeout_s: float) -> tuple[str, int | None]:
    process = subprocess.Popen(
        [interpreter, "-c", _QUESTION],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=variables(os.environ, account, interpreter),
        start_new_session=True,
        **identity(account),
    )
    with process:
        output = _read(process, time.monotonic() + timeout_s)
        if output is None or len(output) > _MOST_OUTPUT:  # no Python with our question says so much
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return (output or b"").decode(errors="replace"), None if output is None else process.returncode


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """All that the process writes, or a bit more than the most we take; None if it has not ended in time."""
    assert process.stdout is not None
    output = b""
    while len(output) <= _MOST_OUTPUT:
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return None
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        output += data
    return output


def identity(account: Account) -> dict[str, Any]:
    """Arguments that make `subprocess` run a program as the account."""
    if not account.change:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": os.getgrouplist(account.name, account.gid)}


_NEEDED = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_BEFORE_SPAWN = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "6640",
}
"""What Dask's Nanny sets before it starts a worker (`distributed.nanny.pre-spawn-environ`). The hash seed is what it
uses too: hashes of text must be the same in all workers."""


def variables(environ: Mapping[str, str], account: Account, interpreter: str) -> dict[str, str]:
    """The environment variables of a nursery.

    A server run as root hands on only what programs need, since its own may hold secrets; any other runs as the same
    account as its clusters, and hands on all but its own settings and what would bend another interpreter.
    """
    if may_change_accounts():
        kept = {name: value for name, value in environ.items() if name in _NEEDED or name.startswith("LC_")}
    else:
        kept = {name: value for name, value in environ.items() if not name.startswith(("SLUICE_", "DASK_SLUICE"))}
    if interpreter != sys.executable:
        kept = {name: value for name, value in kept.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA"))}
    kept.update(account.variables if account.change else {})
    kept.setdefault("HOME", account.home)
    kept["PATH"] = os.path.dirname(interpreter) + os.pathsep + kept.get("PATH", os.defpath)
    return {**_BEFORE_SPAWN, **kept}
