"""A plan in words: the same in a notebook, `dask-sluice new --dry-run` and `check-config`."""

from __future__ import annotations

import json
from typing import Any

from .api import PlanView, SizeView
from .durations import span

GIB = 2**30


def summary(plan: PlanView) -> list[tuple[str, str]]:
    """What the cluster would get, as pairs of a word and its value; nothing that is empty."""
    limit = plan_value(plan, "max_workers")
    pairs = [
        ("profile", plan.profile),
        ("worker", size_in_words(plan.worker)),
        ("scheduler", size_in_words(plan.scheduler)),
        ("workers", f"at most {plan.max_workers}" + (f": the limit is {limit}" if limit else "")),
        ("image", plan.image),
        ("scheduler image", plan.scheduler_image if plan.scheduler_image != plan.image else ""),
        ("environment", plan.environment),
        ("idle", f"stopped after {span(plan.idle_s)} without work" if plan.idle_s else "never stopped for that"),
        ("age", f"stopped when {span(plan.age_s)} old" if plan.age_s else ""),
        *(("limit", limit) for limit in plan.limits),
        ("start", f"scheduler within {span(plan.scheduler_start_s)}, worker within {span(plan.worker_start_s)}"),
    ]
    return [(word, value) for word, value in pairs if value]


def value_rows(plan: PlanView) -> list[tuple[str, str, str]]:
    """Every value with where it came from."""
    return [(each.key, in_words(each.value), each.source) for each in plan.values]


def text(plan: PlanView) -> str:
    """All of it as plain text."""
    pairs, rows = summary(plan), value_rows(plan)
    first = max(len(word) for word, _ in pairs)
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(
        [
            f"What {plan.user} would get (nothing was started):",
            *(f"  {word:<{first}}  {value}" for word, value in pairs),
            *(f"  note: {note}" for note in plan.notes),
            "",
            "Every value, and where it comes from:",
            *(f"  {key:<{widths[0]}}  {min_width(value, widths[1])}  {source}" for key, value, source in rows),
        ]
    )


def size_in_words(size: SizeView) -> str:
    """`4 cores (3.5 set aside), 16 GiB, 4 threads, 1 GPU`."""
    cores = _count(size.cores, "core")
    if size.cores_request != size.cores:
        cores += f" ({size.cores_request:g} set aside)"
    memory = f"{size.memory_bytes / GIB:.4g} GiB" if size.memory_bytes else "memory without limit"
    if size.memory_request_bytes != size.memory_bytes:
        memory += f" ({size.memory_request_bytes / GIB:.4g} set aside)"
    gpus = [_count(size.gpus, "GPU")] if size.gpus else []
    return ", ".join([cores, memory, _count(size.threads, "thread"), *gpus])


def plan_value(plan: PlanView, key: str) -> str:
    """Where the value of this key came from."""
    return next((each.source for each in plan.values if each.key == key), "")


def in_words(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return (value or "-") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def min_width(value: str, width: int) -> str:
    """Padded to a column; a long value may push it out."""
    return f"{value:<{min(width, 40)}}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"
