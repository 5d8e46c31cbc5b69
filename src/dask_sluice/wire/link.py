"""Messages on the WebSocket between a scheduler's agent and the server: JSON objects, `op` first.

    agent  -> server   hello   once, first: who I am, where I listen
                       report  whenever something changed (debounced) and every `report_every_s`
                       wish    adaptive scaling would like `count` workers, and why
                       event   something worth telling: a worker restarted, ran out of memory
    server -> agent    welcome settings for this agent, first
                       adapt   bounds for adaptive scaling, or null to turn it off
                       wanted  how many workers the server holds to be wanted now
                       retire  move data off these workers (or the `count` best ones), close them, then report
                       warn    tell the connected clients
                       stop    end the scheduler now, for this reason

Both ends ignore ops and keys they do not know.
"""

from __future__ import annotations

from typing import Any, Optional, TypedDict


class Hello(TypedDict):
    """First message of an agent."""

    op: str  # "hello"
    cluster: str
    scheduler_port: int
    dashboard_port: Optional[int]
    versions: dict[str, str]  # python, distributed, dask
    pid: int


class _WorkerReport(TypedDict):
    name: str
    address: str
    nthreads: int
    memory_used: int


class WorkerReport(_WorkerReport, total=False):
    """One worker as the scheduler sees it. The server retires those with the least to lose first."""

    processing: int  # tasks on it now; missing counts as 0


class _Report(TypedDict):
    op: str  # "report"
    workers: list[WorkerReport]
    retired: list[str]  # names retired since hello, data safe; at most the last 1000
    clients: int
    tasks: int  # not forgotten
    active: bool  # something runs, waits or is queued
    idle_since: Optional[float]  # epoch seconds, None while active


class Report(_Report, total=False):
    """State of the scheduler."""

    left: list[WorkerReport]  # workers that are gone since the report before, as they last were


class Wish(TypedDict):
    """What adaptive scaling would like."""

    op: str  # "wish"
    count: int
    why: str


class AgentEvent(TypedDict):
    """Something that happened at a worker or the scheduler; code is a `ReasonCode` value."""

    op: str  # "event"
    subject: str  # "scheduler" or a worker's name
    code: str
    details: dict[str, Any]


class _Welcome(TypedDict):
    op: str  # "welcome"
    report_every_s: float
    adaptive_every_s: float


class Welcome(_Welcome, total=False):
    """First message of the server."""

    adaptive_patience_s: float  # fewer workers are wished for only after this long; missing: three looks


class Adapt(TypedDict):
    """Bounds for adaptive scaling; both None turns it off. `maximum` is never None while on."""

    op: str  # "adapt"
    minimum: Optional[int]
    maximum: Optional[int]


class Wanted(TypedDict):
    """How many workers the server wants now: what adaptive scaling compares with."""

    op: str  # "wanted"
    count: int


class Retire(TypedDict):
    """Retire these workers gracefully; data moves first."""

    op: str  # "retire"
    names: list[str]
    count: int  # choose this many more yourself, the cheapest to lose (scheduler.workers_to_close)


class Stop(TypedDict):
    """End now."""

    op: str  # "stop"
    reason: str


class Warn(TypedDict):
    """Tell every connected client, as a Python warning where they work."""

    op: str  # "warn"
    message: str
