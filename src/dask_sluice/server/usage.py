"""Reports on the ledger: what was used in a window of time, added up by user, group, profile, cluster or day. Pure.

Days and dates are UTC. Intervals are cut to the window, and to each day where days are asked for; those that are
still open count until now.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from ..wire.api import UsageReport, UsageRow
from ..wire.errors import RequestInvalid
from .budgets import period_of
from .ledger import GIB, Interval

HOUR_S = 3600.0
FIGURES = ("process_hours", "core_hours", "memory_gib_hours", "gpu_hours", "cost")
_SECONDS = {"s": 1.0, "min": 60.0, "h": HOUR_S, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d|w)")
LATEST = 253402300799.0
"""The last second of the year 9999: later ones have no date."""


class By(StrEnum):
    """What a report is broken down by."""

    USER = "user"
    GROUP = "group"
    PROFILE = "profile"
    CLUSTER = "cluster"
    DAY = "day"


@dataclass(frozen=True)
class Query:
    """A question to the ledger; times in seconds since the epoch."""

    by: tuple[By, ...]
    since: float
    until: float


@dataclass(frozen=True)
class Piece:
    """A part of an interval: what one process used from `begin` until `end`."""

    interval: Interval
    begin: float
    end: float

    @property
    def hours(self) -> float:
        return (self.end - self.begin) / HOUR_S


def query(by: str, since: str | None, until: str | None, now: float) -> Query:
    """The question that these words ask; without `since` it is about this month, without `until` up to now.

    raises  RequestInvalid, naming the parameter
    """
    begin = period_of("month", now)[0] if since is None else read_time("since", since, now)
    end = now if until is None else read_time("until", until, now)
    if begin > end:
        raise _invalid("since", f"must not be after until, got {shown(begin)} and {shown(end)}")
    return Query(_read_by(by), begin, end)


def read_time(field: str, text: str, now: float) -> float:
    """A point in time: a date (`2026-11-01`), a date with time of day, both UTC, or how long ago it was (`7d`)."""
    text = text.strip()
    if match := _DURATION.fullmatch(text):
        return max(0.0, now - float(match[1]) * _SECONDS[match[2]])
    try:
        when = datetime.fromisoformat(text)
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        at = -1.0
    if not 0 <= at <= LATEST:
        kinds = "a date such as 2026-11-01, a time such as 2026-11-01T08:00 (UTC), or how long ago: 7d, 12h"
        raise _invalid(field, f"must be {kinds}; got {text!r}")
    return at


def shown(time: float) -> str:
    """A point in time as it can be given to `read_time`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cut(interval: Interval, since: float, until: float, now: float) -> Piece | None:
    """The part of the interval in this window, an open one until now; None where there is none."""
    end = min(now if interval.ended_at is None else interval.ended_at, until)
    begin = max(interval.started_at, since)
    return Piece(interval, begin, end) if begin < end else None


def by_days(piece: Piece) -> Iterator[tuple[str, Piece]]:
    """The piece, cut at each midnight; with the days' dates."""
    begin = piece.begin
    while begin < piece.end:
        midnight = period_of("day", begin)[1]
        end = min(midnight, piece.end)
        yield day_of(begin), Piece(piece.interval, begin, end)
        begin = end


def day_of(time: float) -> str:
    """The date of the day that this time is in."""
    return datetime.fromtimestamp(time, UTC).date().isoformat()


@dataclass
class Total:
    """What several pieces come to; times in hours."""

    process_hours: float = 0.0
    core_hours: float = 0.0
    memory_gib_hours: float = 0.0
    gpu_hours: float = 0.0
    cost: float = 0.0

    def add(self, piece: Piece) -> None:
        hours, of = piece.hours, piece.interval
        self.process_hours += hours
        self.core_hours += hours * of.cores
        self.memory_gib_hours += hours * of.memory_bytes / GIB
        self.gpu_hours += hours * of.gpus
        self.cost += hours * of.price_hour


def report(intervals: Iterable[Interval], asked: Query, now: float) -> UsageReport:
    """The intervals added up, in the order of the keys. Takes them one by one: a year has millions."""
    totals: defaultdict[tuple[str, ...], Total] = defaultdict(Total)
    for interval in intervals:
        piece = cut(interval, asked.since, asked.until, now)
        if piece is None:
            continue
        for day, part in by_days(piece) if By.DAY in asked.by else (("", piece),):
            totals[*_key(interval, day, asked.by), interval.currency].add(part)
    rows = tuple(_row(asked.by, key, total) for key, total in sorted(totals.items()))
    return UsageReport(asked.since, asked.until, [str(by) for by in asked.by], rows)


def as_csv(found: UsageReport) -> str:
    """The report as comma-separated values, with a line of headings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*found.by, *FIGURES, "currency"])
    for row in found.rows:
        writer.writerow([*row.key.values(), *(getattr(row, figure) for figure in FIGURES), row.currency])
    return text.getvalue()


def _key(interval: Interval, day: str, by: Sequence[By]) -> tuple[str, ...]:
    values = {
        By.USER: interval.user,
        By.GROUP: interval.group,
        By.PROFILE: interval.profile,
        By.CLUSTER: interval.cluster,
        By.DAY: day,
    }
    return tuple(values[each] for each in by)


def _row(by: Sequence[By], key: tuple[str, ...], total: Total) -> UsageRow:
    *names, currency = key
    # More digits than a hundredth of a second's use comes to would only look exact.
    figures = {figure: round(getattr(total, figure), 6) for figure in FIGURES}
    return UsageRow(key=dict(zip(map(str, by), names, strict=True)), currency=currency, **figures)


def _read_by(text: str) -> tuple[By, ...]:
    try:
        found = tuple(By(part.strip().lower()) for part in text.split(","))
    except ValueError:
        raise _invalid("by", f"must be out of {', '.join(By)}, separated by commas; got {text!r}") from None
    return tuple(dict.fromkeys(found))


def _invalid(field: str, what: str) -> RequestInvalid:
    return RequestInvalid(f"query: {field}: {what}", details={"where": "query", "field": field})
