"""The file a backend puts beside a process that it starts: everything the agent needs to know.

One JSON document, mode 0600, its path in the environment variable `SLUICE_LAUNCH`. Secrets travel in
it, and in no command line or variable.
"""

from __future__ import annotations

from typing import Any, Optional, TypedDict

LAUNCH_VARIABLE = "SLUICE_LAUNCH"
LAST_WORDS_VARIABLE = "SLUICE_LAST_WORDS"
"""Path to which the agent writes a `LastWords` document when it ends for a reason it knows."""
VARIABLES_VARIABLE = "SLUICE_VARIABLES"
"""Path of a JSON document of environment variables that the process sets before it does anything else: where a
backend's own way of passing them would show secret ones."""


class TLSFiles(TypedDict):
    """PEM texts of this process's own identity."""

    ca_certificate: str
    certificate: str
    key: str


class SchedulerLaunch(TypedDict):
    """What a scheduler is started with."""

    role: str  # "scheduler"
    cluster: str
    host: str  # address to listen on
    port: int  # 0: any
    dashboard_port: int  # 0: any
    tls: TLSFiles
    link_url: str  # ws:// or wss:// URL of the server's link for this cluster
    link_token: str
    link_ca: Optional[str]  # PEM that a wss:// link trusts, None: the system's


class _WorkerLaunch(TypedDict):
    role: str  # "worker"
    cluster: str
    name: str
    scheduler_address: str  # tls://host:port
    host: str  # address to listen on
    threads: int
    memory_limit_bytes: int  # 0: none
    local_directory: str
    tls: TLSFiles
    max_restarts: int
    restart_window_s: float


class WorkerLaunch(_WorkerLaunch, total=False):
    """What one worker is started with."""

    port: int  # of the worker process; 0 or missing: any
    nanny_port: int  # of its Nanny; 0 or missing: any
    leave_s: float  # so long a signal may be answered by moving what it holds to others; 0 or missing: not at all


class WaitingLaunch(TypedDict):
    """What a process is started with that waits, as nobody's, to become somebody's scheduler."""

    role: str  # "waiting"
    host: str  # address to listen on
    port: int
    certificate: str  # PEM; whoever brings the identity knows its key
    key: str
    token_sha256: str  # hexadecimal digest of the token that the one who brings the identity has
    wait_s: float  # it ends by itself after so long


class Claim(TypedDict):
    """What such a process is told, once: one line of JSON over TLS. The answer is a line too, `ClaimAnswer`."""

    token: str
    launch: SchedulerLaunch
    variables: dict[str, str]


class ClaimAnswer(TypedDict):
    """Whether it becomes that scheduler."""

    error: str  # empty: yes


class LastWords(TypedDict):
    """Why a process ended, by itself."""

    code: str  # a ReasonCode value
    details: dict[str, Any]
