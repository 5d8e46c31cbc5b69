"""The catalogue of reasons: why a cluster or worker waits, changes or ended.

Every event, every failed call and every waiting cluster carries one of these codes. The sentence is
what a person reads, the same in the client, the CLI, the page and dask-gateway's clients; the hint
says what to do about it. Sentences are filled from the event's details with `str.format`; a detail whose name
ends in `_s` is a time in seconds, and shown as people say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .durations import span


class ReasonCode(str, Enum):
    """Stable codes; programs may compare them, so a code is never given another meaning."""

    CREATED = "created"
    QUEUED = "queued"
    WORKERS_QUEUED = "workers_queued"
    QUEUED_FOR_TURN = "queued_for_turn"
    VARIABLES_LEFT_OUT = "variables_left_out"
    SCHEDULER_SUBMITTING = "scheduler_submitting"
    SCHEDULER_STARTING = "scheduler_starting"
    SCHEDULER_CONNECTING = "scheduler_connecting"
    RUNNING = "running"
    SCHEDULER_START_FAILED = "scheduler_start_failed"
    SCHEDULER_START_TIMEOUT = "scheduler_start_timeout"
    SCHEDULER_ENDED = "scheduler_ended"
    SCHEDULER_CLOSED = "scheduler_closed"
    SCHEDULER_LINK_LOST = "scheduler_link_lost"
    SCHEDULER_LINK_BACK = "scheduler_link_back"
    WORKERS_PENDING = "workers_pending"
    BACKEND_REFUSED = "backend_refused"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    SCALED = "scaled"
    ADAPT_SET = "adapt_set"
    ADAPT_OFF = "adapt_off"
    ADAPTIVE_UP = "adaptive_up"
    ADAPTIVE_DOWN = "adaptive_down"
    LIMIT_CLAMPED = "limit_clamped"
    WORKER_STARTING = "worker_starting"
    WORKER_CONNECTED = "worker_connected"
    WORKER_SURPLUS = "worker_surplus"
    WORKER_RETIRED = "worker_retired"
    WORKER_RETIRE_TIMEOUT = "worker_retire_timeout"
    WORKER_START_FAILED = "worker_start_failed"
    WORKER_START_TIMEOUT = "worker_start_timeout"
    WORKER_OUT_OF_MEMORY = "worker_out_of_memory"
    WORKER_KILLED = "worker_killed"
    WORKER_CRASHED = "worker_crashed"
    WORKER_RESTARTED = "worker_restarted"
    WORKER_CRASH_LOOP = "worker_crash_loop"
    WORKER_MISSING = "worker_missing"
    WORKER_LOST = "worker_lost"
    WORKERS_KEEP_FAILING = "workers_keep_failing"
    CLUSTER_ENDED = "cluster_ended"
    STOPPED_BY_USER = "stopped_by_user"
    IDLE = "idle"
    CLIENT_GONE = "client_gone"
    NOTEBOOK_ENDED = "notebook_ended"
    LEASE_OVER = "lease_over"
    LEASE_ENDS = "lease_ends"
    KEPT_ALIVE = "kept_alive"
    EXTENDED = "extended"
    SERVER_STOPPING = "server_stopping"
    SERVER_RESTARTED = "server_restarted"
    DRAINING = "draining"
    BUDGET_WARNING = "budget_warning"
    BUDGET_NO_NEW_WORKERS = "budget_no_new_workers"
    BUDGET_DRAINING = "budget_draining"
    BUDGET_SPENT = "budget_spent"
    BUDGET_RENEWED = "budget_renewed"
    SERVER_CHANGED = "server_changed"
    UNSCHEDULABLE = "unschedulable"
    IMAGE_PULLING = "image_pulling"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_DENIED = "image_denied"
    IMAGE_INVALID = "image_invalid"
    IMAGE_PULL_FAILED = "image_pull_failed"
    IMAGE_WITHOUT_DASK = "image_without_dask"
    CONTAINER_CONFIG_INVALID = "container_config_invalid"
    CONTAINER_START_FAILED = "container_start_failed"
    QUOTA_EXCEEDED = "quota_exceeded"
    POD_SECURITY_REFUSED = "pod_security_refused"
    OUT_OF_MEMORY = "out_of_memory"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    POD_DELETED = "pod_deleted"

    def __str__(self) -> str:
        return self.value


WORTH_A_WARNING = (
    ReasonCode.WORKERS_QUEUED,
    ReasonCode.WORKERS_PENDING,
    ReasonCode.WORKERS_KEEP_FAILING,
    ReasonCode.BACKEND_UNAVAILABLE,
    ReasonCode.QUOTA_EXCEEDED,
)
"""A running cluster does not get what it wants: whoever works with it should hear of that, without asking."""


TAKEN = (ReasonCode.EVICTED, ReasonCode.PREEMPTED, ReasonCode.NODE_LOST, ReasonCode.POD_DELETED)
"""Ends that are no job's own doing: whoever runs it took it away."""


@dataclass(frozen=True)
class ReasonText:
    """One entry of the catalogue: a sentence with `{detail}` fields, and what to do about it."""

    sentence: str
    hint: str = ""


CATALOGUE: Mapping[ReasonCode, ReasonText] = {
    ReasonCode.CREATED: ReasonText("accepted, waiting for its turn to start"),
    ReasonCode.QUEUED: ReasonText(
        "waits for room: {used} of {limit} are in use by {who}; number {position} in the queue",
        "It starts by itself when others end. Whoever has used least is served first.",
    ),
    ReasonCode.WORKERS_QUEUED: ReasonText(
        "{count_workers} must wait for room: {used} of {limit} are in use by {who}; number {position} in the queue",
        "They start by themselves when others end. Whoever has used least is served first.",
    ),
    ReasonCode.QUEUED_FOR_TURN: ReasonText(
        "{count_starts} must wait: {limit} for {who}",
        "They follow by themselves, so many at a time; an administrator sets the number.",
    ),
    ReasonCode.VARIABLES_LEFT_OUT: ReasonText(
        "environment variables were left out, since none can be called so: {names}",
        "Names consist of letters, digits and _, and start with no digit. The rest is set.",
    ),
    ReasonCode.SCHEDULER_SUBMITTING: ReasonText(
        "the backend has been asked to start the scheduler and is not done with it",
        "Nothing needs to be done. The first cluster in an environment takes longest.",
    ),
    ReasonCode.SCHEDULER_STARTING: ReasonText("the scheduler is starting"),
    ReasonCode.SCHEDULER_CONNECTING: ReasonText("the scheduler has started and is connecting to the server"),
    ReasonCode.RUNNING: ReasonText("running"),
    ReasonCode.SCHEDULER_START_FAILED: ReasonText(
        "the scheduler ended before it was ready: {how}{last_lines}",
        "The last lines of its log say what it tripped over; a missing package is the usual cause.",
    ),
    ReasonCode.SCHEDULER_START_TIMEOUT: ReasonText(
        "the scheduler was not ready {limit_s} after it was submitted (phase: {phase}){last_lines}",
        "The last lines of its log say what it was at. Where it cannot reach the server, an administrator corrects "
        "listen.agent_url; else the machine has too much to do, or timeouts.scheduler_start_s is too short.",
    ),
    ReasonCode.SCHEDULER_ENDED: ReasonText(
        "the scheduler ended unexpectedly: {how}{last_lines}",
        "Results held by its workers are gone. Start a new cluster; a larger scheduler helps if memory ran out.",
    ),
    ReasonCode.SCHEDULER_CLOSED: ReasonText(
        "the scheduler was closed by a client (Client.shutdown)",
        "client.close() lets go of a cluster without ending it.",
    ),
    ReasonCode.SCHEDULER_LINK_LOST: ReasonText(
        "the scheduler's connection to the server broke; it keeps working",
        "It connects again by itself; until then the server cannot see which workers have connected.",
    ),
    ReasonCode.SCHEDULER_LINK_BACK: ReasonText("the scheduler is connected to the server again"),
    ReasonCode.WORKERS_PENDING: ReasonText(
        "{count_workers} not started yet; {name}: {why}",
        "They start by themselves; cluster.worker_reports() and `dask-sluice show` tell what each of them waits for.",
    ),
    ReasonCode.BACKEND_REFUSED: ReasonText(
        "the {backend} backend refused to start {what}: {message}",
        "Trying the same again will not help: choose other options, or ask the administrator.",
    ),
    ReasonCode.BACKEND_UNAVAILABLE: ReasonText(
        "the {backend} backend does not answer: {message}",
        "The server tries again by itself. Where it stays so, an administrator mends what the sentence names.",
    ),
    ReasonCode.SCALED: ReasonText("{by} asked for {count_workers}"),
    ReasonCode.ADAPT_SET: ReasonText("{by} asked for adaptive scaling between {minimum} and {maximum} workers"),
    ReasonCode.ADAPT_OFF: ReasonText("{by} turned adaptive scaling off; it stays at {count_workers}"),
    ReasonCode.ADAPTIVE_UP: ReasonText("adaptive scaling asks for {count_workers} instead of {before}: {why}"),
    ReasonCode.ADAPTIVE_DOWN: ReasonText("adaptive scaling asks for {count_workers} instead of {before}: {why}"),
    ReasonCode.LIMIT_CLAMPED: ReasonText(
        "{asked} workers were asked for; the limit is {limit_by}, so it is {count} (now {now})",
        "An administrator sets the limit; smaller workers may fit more often.",
    ),
    ReasonCode.WORKER_STARTING: ReasonText("starting"),
    ReasonCode.WORKER_CONNECTED: ReasonText("connected to the scheduler"),
    ReasonCode.WORKER_SURPLUS: ReasonText("no longer wanted"),
    ReasonCode.WORKER_RETIRED: ReasonText("retired, its data is with other workers"),
    ReasonCode.WORKER_RETIRE_TIMEOUT: ReasonText(
        "no longer wanted, and ended although its data could not be moved to other workers within {limit_s}",
        "What was lost is computed again. Keep more workers, or larger ones; actors cannot be moved at all.",
    ),
    ReasonCode.WORKER_START_FAILED: ReasonText(
        "ended before it connected: {how}{last_lines}", "The last lines of its log say what it tripped over."
    ),
    ReasonCode.WORKER_START_TIMEOUT: ReasonText(
        "did not connect within {limit_s} (phase: {phase}){last_lines}",
        "The last lines of its log say what it was at; if there are none, its machine may be overloaded.",
    ),
    ReasonCode.WORKER_OUT_OF_MEMORY: ReasonText(
        "killed, out of memory at {used_gib:.1f} of {limit_gib:.1f} GiB",
        "Ask for more worker_memory, or make the pieces of your data smaller.",
    ),
    ReasonCode.WORKER_KILLED: ReasonText(
        "killed by {signal}{last_lines}",
        "Another one is started. Where this happens again, a larger worker_memory often helps.",
    ),
    ReasonCode.WORKER_CRASHED: ReasonText(
        "crashed with exit code {exit_code}{last_lines}",
        "Another one is started. The last lines of its log say what it tripped over.",
    ),
    ReasonCode.WORKER_RESTARTED: ReasonText(
        "restarted after: {how}",
        "What it held is computed again. `dask-sluice logs --worker` shows what it wrote before.",
    ),
    ReasonCode.WORKER_CRASH_LOOP: ReasonText(
        "gave up after {restarts} crashes in {window_s}; the last: {how}{last_lines}",
        "Something in the tasks or the environment ends the process each time.",
    ),
    ReasonCode.WORKER_MISSING: ReasonText(
        "the scheduler does not see it just now; in {limit_s} it is given up",
        "Its process may be starting anew, or its network be broken. Nothing needs to be done.",
    ),
    ReasonCode.WORKER_LOST: ReasonText(
        "disappeared: {how}{last_lines}",
        "Another one is started, and what it held is computed again; its machine may have been lost.",
    ),
    ReasonCode.WORKERS_KEEP_FAILING: ReasonText(
        "no more workers are started: {failures} in a row failed, the last: {how}",
        "Fix the cause, then scale again to try anew.",
    ),
    ReasonCode.CLUSTER_ENDED: ReasonText("its cluster ended"),
    ReasonCode.STOPPED_BY_USER: ReasonText("stopped by {by}", "Start a new cluster when you need one."),
    ReasonCode.IDLE: ReasonText(
        "stopped after {limit_s} without work",
        "Start a new cluster when you need one; cluster.keep_alive('2h') keeps one that you still need.",
    ),
    ReasonCode.CLIENT_GONE: ReasonText(
        "stopped after {limit_s} without the notebook that made it",
        "new_cluster(shutdown_on_close=False) makes a cluster that outlives its notebook.",
    ),
    ReasonCode.NOTEBOOK_ENDED: ReasonText(
        "stopped because the notebook server that made it has ended",
        "new_cluster(shutdown_on_close=False) makes a cluster that outlives its notebook server.",
    ),
    ReasonCode.LEASE_OVER: ReasonText(
        "stopped after {limit_s}, the longest life of a cluster here", "An administrator sets the limit."
    ),
    ReasonCode.LEASE_ENDS: ReasonText(
        "will be stopped in {minutes} min: {why}",
        "Use it (idle), connect a client to it (absent), or call cluster.keep_alive('2h') or cluster.extend('2h').",
    ),
    ReasonCode.KEPT_ALIVE: ReasonText("{by} asked to keep it for {for_s}, although it may be idle or alone"),
    ReasonCode.EXTENDED: ReasonText("{by} extended its life by {for_s}"),
    ReasonCode.SERVER_STOPPING: ReasonText(
        "stopped because the server is shutting down", "Start a new cluster when the server is back."
    ),
    ReasonCode.SERVER_RESTARTED: ReasonText("found again after the server restarted"),
    ReasonCode.DRAINING: ReasonText(
        "the server is being drained{message}: it takes no new clusters, and those that it has run on",
        "Try again later, or use another server. An administrator ends it: `dask-sluice drain --off`.",
    ),
    ReasonCode.BUDGET_WARNING: ReasonText(
        "{percent} % of the budget of {scope} is spent, {spent:.2f} of {amount:.2f} {unit} for the {period} until "
        "{until}",
        "Once all of it is spent no new workers start, and later clusters end. `dask-sluice usage --by cluster` shows "
        "what it went on; an administrator sets the budget.",
    ),
    ReasonCode.BUDGET_NO_NEW_WORKERS: ReasonText(
        "no new workers are started, running ones go on: the budget of {scope} is spent, {spent:.2f} of {amount:.2f} "
        "{unit} for the {period} until {until}",
        "Stop what you do not need: what still runs is charged, and clusters end when too much is overspent. An "
        "administrator can raise the budget.",
    ),
    ReasonCode.BUDGET_DRAINING: ReasonText(
        "this cluster will be ended at {ends}: the budget of {scope} is overspent, {spent:.2f} of {amount:.2f} {unit} "
        "for the {period} until {until}",
        "Save your results now. An administrator can raise the budget.",
    ),
    ReasonCode.BUDGET_SPENT: ReasonText(
        "ended because the budget of {scope} is overspent: {spent:.2f} of {amount:.2f} {unit} for the {period} until "
        "{until}",
        "Start a new cluster when the next period has begun, or ask an administrator to raise the budget.",
    ),
    ReasonCode.BUDGET_RENEWED: ReasonText("the budget of {scope} allows new workers again"),
    ReasonCode.SERVER_CHANGED: ReasonText("looked after by another server from now on"),
    ReasonCode.UNSCHEDULABLE: ReasonText(
        "waits for a node: {why}",
        "It starts by itself once a node can take it. Where that is a matter of room, something smaller fits sooner.",
    ),
    ReasonCode.IMAGE_PULLING: ReasonText(
        "the image {image} is being pulled", "A large image takes minutes, once a node."
    ),
    ReasonCode.IMAGE_NOT_FOUND: ReasonText(
        "the image {image} is not in its registry: {message}", "Check its name and tag; it is tried again meanwhile."
    ),
    ReasonCode.IMAGE_DENIED: ReasonText(
        "the registry does not hand out the image {image}: {message}",
        "It is private, or not there: check its name; an administrator gives clusters an image pull secret.",
    ),
    ReasonCode.IMAGE_INVALID: ReasonText(
        "{image} is no name of an image: {message}", "Names are written registry/name:tag, in small letters."
    ),
    ReasonCode.IMAGE_PULL_FAILED: ReasonText(
        "the image {image} cannot be pulled: {message}", "Kubernetes tries again, with pauses that grow."
    ),
    ReasonCode.IMAGE_WITHOUT_DASK: ReasonText(
        "the image {image} cannot run Dask: {message}",
        "Choose an image that has dask and distributed, for the Python that starts there; nothing else is needed.",
    ),
    ReasonCode.CONTAINER_CONFIG_INVALID: ReasonText(
        "its container cannot be made: {message}",
        "Something that the pod names is not there, such as a Secret, a ConfigMap or a volume. It is for an "
        "administrator to mend.",
    ),
    ReasonCode.CONTAINER_START_FAILED: ReasonText(
        "its container cannot be started: {message}",
        "The image lacks what is to be run; it needs a Python with dask and distributed.",
    ),
    ReasonCode.QUOTA_EXCEEDED: ReasonText(
        "Kubernetes' quota leaves no room for {what}: {message}",
        "It is tried again by itself. Stop what you do not need; an administrator sets the quota.",
    ),
    ReasonCode.POD_SECURITY_REFUSED: ReasonText(
        "the namespace's Pod Security level refuses {what}: {message}",
        "An administrator changes the pod (backend.kubernetes.pods) or the namespace's level.",
    ),
    ReasonCode.OUT_OF_MEMORY: ReasonText(
        "killed by the kernel, out of memory at its limit of {limit_gib:.2f} GiB{last_use}",
        "Ask for more memory, or make the pieces of your data smaller.",
    ),
    ReasonCode.EVICTED: ReasonText(
        "its node gave it up: {message}", "Nodes do so when they run short or are emptied; what was lost is made anew."
    ),
    ReasonCode.PREEMPTED: ReasonText(
        "its place was taken by something more important: {message}",
        "It is made anew where there is room. An administrator sets priorities.",
    ),
    ReasonCode.NODE_LOST: ReasonText(
        "its node {node} is lost: {message}",
        "Machines fail; workers are made anew, and what they held is computed again.",
    ),
    ReasonCode.POD_DELETED: ReasonText(
        "its pod was deleted, not by this server{message}", "Ask whoever looks after the cluster's namespace."
    ),
}


@dataclass(frozen=True)
class Reason:
    """A code and the details that fill its sentence."""

    code: ReasonCode
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What a person reads. A missing detail shows as `?`: a reason must never raise."""
        details = _Details(self.details)
        try:
            return CATALOGUE[self.code].sentence.format_map(details)
        except (ValueError, TypeError):  # a detail of another type than its format wants
            return f"{self.code} {dict(self.details)}"

    @property
    def hint(self) -> str:
        return CATALOGUE[self.code].hint


_COUNTED = ("worker", "start")
"""`{count_workers}` is the detail `count` with its noun: 1 worker, 2 workers."""


class _Details(dict[str, Any]):
    """Details as `str.format_map` asks for them."""

    def __getitem__(self, key: str) -> Any:
        for thing in _COUNTED:
            if key.endswith(f"_{thing}s") and key not in self:
                count = self[key.removesuffix(f"_{thing}s")]
                return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
        value = self.get(key, "" if key in ("last_lines", "last_use") else "?")
        is_time = key.endswith("_s") and isinstance(value, (int, float))
        return span(value) if is_time else value


def last_lines(text: str, count: int = 8) -> str:
    """The end of a log as it is shown behind a sentence: empty, or lines set in by two blanks."""
    lines = [line for line in text.splitlines() if line.strip()][-count:]
    return "".join(f"\n  {line[:300]}" for line in lines)
