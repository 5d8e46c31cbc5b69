"""Reports add up what the ledger holds: cut to the window, by what was asked for, in forms that programs read."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.protocol import JobKind
from dask_sluice.server.focus import COLUMNS, as_focus
from dask_sluice.server.ledger import GIB, Interval
from dask_sluice.server.usage import By, Query, as_csv, by_days, cut, query, read_time, report, shown
from dask_sluice.wire.errors import RequestInvalid

GOLDEN = Path(__file__).parent / "golden"
NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
MIDNIGHT = NOON + 12 * 3600
DAY_S = 86400.0


def interval(
    job_id: str = "ada-1-worker-1", started_at: float = NOON, ended_at: float | None = None, **changes: object
) -> Interval:
    given = Interval(
        job_id=job_id,
        cluster="ada-1",
        user="ada",
        group="physics",
        profile="",
        kind=JobKind.WORKER,
        cores=2,
        memory_bytes=4 * GIB,
        gpus=0,
        price_hour=0.06,
        currency="EUR",
        started_at=started_at,
        ended_at=ended_at,
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


LEDGER = [
    interval(
        "ada-1-scheduler", NOON, MIDNIGHT + 3600, kind=JobKind.SCHEDULER, cores=1, memory_bytes=0, price_hour=0.02
    ),
    interval("ada-1-worker-1", NOON + 600, MIDNIGHT + 1800),
    interval("ada-1-worker-2", NOON + 600, NOON + 615),
    interval(
        "grace-1-worker-1",
        NOON,
        None,
        cluster="grace-1",
        user="grace",
        group="",
        profile='big, "fast"',
        gpus=2,
        cores=8,
    ),
    interval("grace-0-worker-1", NOON - 10 * DAY_S, NOON - 9 * DAY_S, user="grace", cluster="grace-0"),
    interval("emmy-1-worker-1", NOON, NOON + 3600, user="emmy", cluster="emmy-1", currency="USD", group="maths"),
]
MONTH = Query((By.USER,), NOON - DAY_S / 2, NOON + 30 * DAY_S)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("usage-by-user.csv", as_csv(report(LEDGER, MONTH, MIDNIGHT + 7200))),
        (
            "usage-by-group-and-day.csv",
            as_csv(report(LEDGER, dataclasses.replace(MONTH, by=(By.GROUP, By.DAY)), MIDNIGHT + 7200)),
        ),
        (
            "usage-by-cluster.json",
            json.dumps(
                dataclasses.asdict(
                    report(LEDGER, dataclasses.replace(MONTH, by=(By.CLUSTER, By.PROFILE)), MIDNIGHT + 7200)
                ),
                indent=1,
            )
            + "\n",
        ),
        ("usage-focus.csv", as_focus(LEDGER, MONTH, MIDNIGHT + 7200, "https://dask.example.org")),
    ],
)
def test_a_report_is_as_the_files_here_show_it(name: str, text: str) -> None:
    assert (GOLDEN / name).read_text() == text


def test_focus_has_its_columns_and_its_costs_are_those_of_the_report() -> None:
    rows = list(csv.DictReader(io.StringIO(as_focus(LEDGER, MONTH, MIDNIGHT + 7200, "here"))))
    assert tuple(rows[0]) == COLUMNS
    for needed in (
        "BilledCost",
        "BillingCurrency",
        "ChargePeriodStart",
        "ChargePeriodEnd",
        "ResourceId",
        "ServiceName",
    ):
        assert all(row[needed] for row in rows)
    by_user = {row.key["user"]: row for row in report(LEDGER, MONTH, MIDNIGHT + 7200).rows}
    for user, row in by_user.items():
        theirs = [each for each in rows if json.loads(each["Tags"])["user"] == user]
        assert sum(float(each["BilledCost"]) for each in theirs) == pytest.approx(row.cost, abs=1e-5)
        assert sum(float(each["ConsumedQuantity"]) for each in theirs) == pytest.approx(row.process_hours, abs=1e-5)
        assert {each["BillingCurrency"] for each in theirs} == {row.currency}
    for row_ in rows:
        assert float(row_["ListUnitPrice"]) * float(row_["PricingQuantity"]) == pytest.approx(
            float(row_["BilledCost"]), abs=1e-5
        )


times = st.floats(NOON - 40 * DAY_S, NOON + 40 * DAY_S)


@given(times, st.none() | times, times, times, times)
def test_a_piece_lies_within_interval_and_window(
    started: float, ended: float | None, since: float, until: float, now: float
) -> None:
    found = interval(started_at=started, ended_at=None if ended is None else max(started, ended))
    piece = cut(found, since, until, now)
    if piece is None:
        end = now if found.ended_at is None else found.ended_at
        assert max(started, since) >= min(end, until)
        return
    assert since <= piece.begin < piece.end <= until
    assert started <= piece.begin
    assert piece.end <= (now if found.ended_at is None else found.ended_at)


@given(st.lists(times, min_size=3, max_size=3, unique=True).map(sorted), st.none() | times, times)
def test_windows_side_by_side_add_up_to_the_whole(edges: list[float], ended: float | None, started: float) -> None:
    found = interval(started_at=started, ended_at=None if ended is None else max(started, ended))
    whole, first, second = (
        cut(found, since, until, edges[2]) for since, until in ((edges[0], edges[2]), edges[:2], edges[1:])
    )
    assert sum(piece.hours for piece in (first, second) if piece) == pytest.approx(whole.hours if whole else 0)


@given(times, st.floats(1, 40 * DAY_S))
def test_days_add_up_to_the_piece_and_none_is_longer_than_a_day(began: float, seconds: float) -> None:
    piece = cut(interval(started_at=began), 0, began + seconds, began + seconds)
    assert piece is not None
    days = list(by_days(piece))
    assert sum(part.hours for _, part in days) == pytest.approx(piece.hours)
    assert all(part.hours <= 24 for _, part in days)
    assert [day for day, _ in days] == sorted({shown(part.begin)[:10] for _, part in days})


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-01", NOON - DAY_S / 2),
        ("2026-11-01T12:00", NOON),
        ("2026-11-01T12:00:00Z", NOON),
        ("2026-11-01 13:00+01:00", NOON),
        ("7d", NOON - 7 * DAY_S),
        ("1.5h", NOON - 5400),
        ("90min", NOON - 5400),
        ("99999999w", 0),
    ],
)
def test_points_in_time_are_dates_times_and_durations(text: str, time: float) -> None:
    assert read_time("since", text, NOON) == time


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "7y", "2026-13-01", "-7d", "1700000000", "1969-12-31", "2026-11-01T25:00"]
)
def test_what_is_no_point_in_time_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(RequestInvalid, match="a date such as 2026-11-01") as caught:
        read_time("until", text, NOON)
    assert caught.value.details == {"where": "query", "field": "until"}


def test_without_a_window_it_is_this_month() -> None:
    assert query("user", None, None, NOON) == Query((By.USER,), NOON - DAY_S / 2, NOON)
    assert query("User, day,user", "7d", None, NOON).by == (By.USER, By.DAY)


@pytest.mark.parametrize(
    ("by", "since", "field"), [("usr", "7d", "by"), ("", "7d", "by"), ("day", "2026-12-01", "since")]
)
def test_a_question_that_makes_no_sense_is_refused(by: str, since: str, field: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        query(by, since, "2026-11-02", NOON)
    assert caught.value.details["field"] == field
