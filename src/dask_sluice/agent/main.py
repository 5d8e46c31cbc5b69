"""Where a staged agent starts: reads its launch document and becomes the scheduler or worker it describes, or waits
to be told that (`waiting.py`).

Two ways lead here. `main` is the command of a job (`python STAGE worker`): it starts cold. `run` is called in a
process just forked from the nursery, with distributed imported; it must not cost a millisecond more than needed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

from ..wire.launch import LAUNCH_VARIABLE, VARIABLES_VARIABLE

ROLES = ("scheduler", "worker", "nursery")

_READ_AT_START = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "6640",
}
"""What a Nanny sets before it starts a worker process; ours is forked, so they must be set before this one starts.
The hash seed is Dask's too: hashes of text must be the same in all workers."""


def main() -> int:
    """`python STAGE scheduler|worker|nursery`; the exit code."""
    role = sys.argv[1] if len(sys.argv) == 2 else ""
    if role not in ROLES:
        print(f"usage: python {sys.argv[0]} {'|'.join(ROLES)}", file=sys.stderr)
        return 2
    if role == "nursery":
        from . import nursery

        return nursery.main()
    path = os.environ.get(LAUNCH_VARIABLE)
    if not path:
        print(f"{LAUNCH_VARIABLE} must name the launch document", file=sys.stderr)
        return 2
    environ = _environment(role)
    os.environ.pop(VARIABLES_VARIABLE, None)
    if environ != os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], environ)
    return run(path)


def _environment(role: str) -> dict[str, str]:
    """The environment variables that this process is to have; some are read only when a process starts."""
    environ = dict(os.environ)
    path = environ.pop(VARIABLES_VARIABLE, None)
    if path:
        with open(path) as file:
            environ.update(json.load(file))
    return {**_READ_AT_START, **environ} if role == "worker" else environ


def run(launch_path: str) -> int:
    """Become what the launch document describes; the exit code. Ends by the signal that asked it to end."""
    with open(launch_path) as file:
        launch = json.load(file)
    _set_up_logging()
    from .signals import Stopped, end_by

    try:
        if launch["role"] == "waiting":
            from .waiting import wait

            launch = wait(launch)
            if launch is None:
                return 0
        return _be(launch)
    except Stopped as stopped:
        logging.getLogger("sluice.agent").info("ending: %s", stopped)
        return end_by(stopped.number)


def _be(launch: dict[str, Any]) -> int:
    from . import last_words

    worker = launch["role"] == "worker"
    try:
        # Imported late: an environment in which that fails must still leave its reason behind.
        if worker:
            from .worker import run as run_role
        else:
            from .scheduler import run as run_role  # type: ignore[assignment]
        return run_role(launch)  # type: ignore[arg-type]
    except Exception as error:
        from .signals import Stopped

        if isinstance(error, Stopped):
            raise
        logging.getLogger("sluice.agent").exception("the %s cannot run", launch["role"])
        from ..wire.reasons import ReasonCode

        code = ReasonCode.WORKER_START_FAILED if worker else ReasonCode.SCHEDULER_START_FAILED
        last_words.say(code, how=last_words.in_words(error))
        return 1


def _set_up_logging() -> None:
    """Our lines look like distributed's, which sets up its own loggers when it is imported."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger = logging.getLogger("sluice")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
