"""How a process ended, in words: from what the nursery wrote and what the process said itself.

A reason is given only where more is known than exit code, signal and log say: the rest is worded by `reconcile`.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from typing import Any

from ....wire.reasons import Reason, ReasonCode, last_lines
from ..protocol import JobKind, JobState, Seen

UNKNOWN = "how is not known, since its parent process had ended before it"
OUT_OF_MEMORY = "SIGKILL (the machine ran out of memory and its kernel chose a process to kill)"


def ended(job_id: str, kind: JobKind, exit: Mapping[str, Any], last_words: Mapping[str, Any], log_tail: str) -> Seen:
    """What is seen of a job that is over.

    exit, last_words   the documents `.exit` and `.why`, empty where there are none; not to be trusted
    """
    signal = str(exit.get("signal") or "")
    exit_code = _exit_code(exit.get("exit_code"), signal)
    reason = _own_reason(last_words)
    if reason is None and exit_code is None and not signal:
        reason = _unknown(kind, log_tail)
    if exit.get("oom") is True:
        signal = OUT_OF_MEMORY
    return Seen(job_id, JobState.ENDED, exit_code=exit_code, signal=signal, reason=reason, log_tail=log_tail)


def _exit_code(code: Any, signal: str) -> int | None:
    """A plain exit code, or the signal's number below zero, as `subprocess` counts."""
    if isinstance(code, int):
        return code
    return -signals.Signals[signal].value if signal in signals.Signals.__members__ else None


def _own_reason(last_words: Mapping[str, Any]) -> Reason | None:
    details = last_words.get("details")
    try:
        return Reason(ReasonCode(last_words.get("code")), details if isinstance(details, dict) else {})
    except ValueError:
        return None


def _unknown(kind: JobKind, log_tail: str) -> Reason:
    if kind is JobKind.WORKER:
        return Reason(ReasonCode.WORKER_LOST, {"how": UNKNOWN})
    return Reason(ReasonCode.SCHEDULER_ENDED, {"how": UNKNOWN, "last_lines": last_lines(log_tail)})
