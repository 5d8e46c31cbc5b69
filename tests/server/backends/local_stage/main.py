"""Stands in for the agent in tests of the local backend: plays what the launch document's `play` says.

Copied into a staged agent as `sluice_agent/agent/main.py`, next to the real nursery.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any


def run(launch_path: str) -> int:
    with open(launch_path) as file:
        launch = json.load(file)
    print(f"playing {launch['play']}", flush=True)
    return PLAYS[launch["play"]](launch)


def stay(_: Any) -> int:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Event().wait()
    return 0


def family(_: Any) -> int:
    """Have a child, a grandchild that leads another group, and one that left for a session of its own."""
    sleep = "import time; time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", sleep])
    if os.fork() == 0:
        os.setpgid(0, 0)
        subprocess.Popen([sys.executable, "-c", sleep])
        threading.Event().wait()
    leave = f"import os, subprocess; subprocess.Popen([{sys.executable!r}, '-c', {sleep!r}], start_new_session=True)"
    subprocess.run([sys.executable, "-c", leave], check=True)
    print("all born", flush=True)
    return stay(None)


def stubborn(_: Any) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("not listening", flush=True)
    threading.Event().wait()
    return 0


def die(_: Any) -> int:
    print("ModuleNotFoundError: No module named 'x'", file=sys.stderr, flush=True)
    return 3


def chatter(_: Any) -> int:
    print("chatter " * 20_000 + "and the end", flush=True)
    return stay(None)


def say_why(_: Any) -> int:
    with open(os.environ["SLUICE_LAST_WORDS"], "w") as file:
        json.dump({"code": "worker_crash_loop", "details": {"restarts": 3, "window_s": 10, "how": "it crashed"}}, file)
    return 1


def report(_: Any) -> int:
    """Tell what a process can see of itself."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":", 1) for line in file)
    found = {
        "uids": status["Uid"].split(),
        "gids": status["Gid"].split(),
        "groups": status["Groups"].split(),
        "umask": status["Umask"].strip(),
        "pid": os.getpid(),
        "session": os.getsid(0),
        "cwd": os.getcwd(),
        "variables": dict(os.environ),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "random": random.random(),
        "authkey": multiprocessing.current_process().authkey.hex(),
        "numpy": sys.modules["numpy"].random.random() if "numpy" in sys.modules else None,
        "sigterm_is_default": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "warm": "sluice_agent.agent.nursery" in sys.modules,
    }
    with open("report.json.new", "w") as file:
        json.dump(found, file)
    os.rename("report.json.new", "report.json")
    return 0


PLAYS: dict[str, Callable[[Any], int]] = {
    "stay": stay,
    "family": family,
    "stubborn": stubborn,
    "die": die,
    "chatter": chatter,
    "say_why": say_why,
    "report": report,
}
