"""Which process is meant: a number alone can be given to a stranger, number and start time cannot.

The nursery (agent) writes both into a mark beside each process, the local backend (server) compares them
before it signals anything; so both must read a start time the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Optional

ZOMBIE = "Z"


@dataclass(frozen=True)
class ProcessStat:
    """One process as the system lists it. `start_time` is opaque: only ever compare it.

    It carries the boot, so a mark from before a restart of the machine fits no process after it.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start_time: str


def process_stat(pid: int) -> Optional[ProcessStat]:
    """The process with this number, or None where there is none."""
    if not sys.platform.startswith("linux"):
        return _stat_by_ps(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may itself hold blanks and brackets: count from the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    start_time = f"{int(fields[19])}@{_boot()}"
    return ProcessStat(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), start_time)


def process_ids() -> list[int]:
    """Numbers of all processes that this account can see."""
    if sys.platform.startswith("linux"):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    listing = subprocess.run(["ps", "-axo", "pid="], capture_output=True, text=True, check=True).stdout
    return [int(line) for line in listing.split()]


def is_alive(pid: int, start_time: str) -> bool:
    """Whether exactly this process still runs. A zombie does not."""
    stat = process_stat(pid)
    return stat is not None and stat.start_time == start_time and stat.state != ZOMBIE


_boot_id = ""


def _boot() -> str:
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id") as file:
            _boot_id = file.read(8)
    return _boot_id


def _stat_by_ps(pid: int) -> Optional[ProcessStat]:
    """For macOS, which has no /proc. The group stands in for the session: our children lead both."""
    command = ["ps", "-o", "stat=,ppid=,pgid=,lstart=", "-p", str(pid)]
    fields = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split(None, 3)
    if len(fields) < 4:
        return None
    state, parent, group, start_time = fields
    return ProcessStat(pid, state[0], int(parent), int(group), int(group), "-".join(start_time.split()))
