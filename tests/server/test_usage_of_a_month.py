"""The ledger of a simulated month agrees with the simulation, to the second."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from dask_sluice.server.ledger import GIB, Interval, price_hour
from dask_sluice.server.usage import By, Query, report

from .month import BEGIN, DAY_S, MONTH_S, PRICES, USERS, Month, Run


def hours(run: Run, now: float) -> float:
    return ((now if run.ended is None else run.ended) - run.began) / 3600


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_ledger_of_a_month_is_what_happened_in_it(tmp_path: Path, seed: int) -> None:
    month = Month(tmp_path, seed)
    await month.run(clusters=50)
    ledger: list[Interval] = await month.store.intervals(BEGIN, month.now, None, list)

    assert {each.job_id: (each.started_at, each.ended_at) for each in ledger} == {
        job_id: (run.began, run.ended) for job_id, run in month.runs.items()
    }
    assert max(Counter(each.job_id for each in ledger).values()) == 1
    assert len(ledger) > 100
    assert month.kills > 5
    assert any(each.ended_at is None for each in ledger)

    found = report(ledger, Query((By.USER,), BEGIN, month.now), month.now)
    for row in found.rows:
        runs = [run for run in month.runs.values() if run.owner == row.key["user"]]
        times = [hours(run, month.now) for run in runs]
        assert row.process_hours == pytest.approx(sum(times), abs=1e-5)
        weighted = zip(times, runs, strict=True)
        core_hours, memory, gpus, cost = (
            sum(figures)
            for figures in zip(
                *(
                    (
                        time * run.size.cores,
                        time * run.size.memory_bytes / GIB,
                        time * run.size.gpus,
                        time * price_hour(run.size, PRICES),
                    )
                    for time, run in weighted
                ),
                strict=True,
            )
        )
        assert (row.core_hours, row.memory_gib_hours, row.gpu_hours, row.cost) == pytest.approx(
            (core_hours, memory, gpus, cost), abs=1e-5
        )

    # The database adds up as we do: budgets go by its sums.
    for since, until in itertools.pairwise([BEGIN, BEGIN + 3.3 * DAY_S, BEGIN + 20 * DAY_S, BEGIN + MONTH_S]):
        by_us = report(ledger, Query((By.USER,), since, until), until)
        by_database = await month.store.spent(since, until, PRICES.currency)
        for row in by_us.rows:
            theirs = [each for each in by_database if each.user == row.key["user"]]
            assert {each.group for each in theirs} == {(USERS[row.key["user"]] or ("",))[0]}
            assert sum(each.cost for each in theirs) == pytest.approx(row.cost, abs=1e-5)
            assert sum(each.core_hours for each in theirs) == pytest.approx(row.core_hours, abs=1e-5)
    await month.store.close()


async def test_what_was_used_is_kept_when_clusters_are_forgotten(tmp_path: Path) -> None:
    month = Month(tmp_path, 4)
    await month.run(clusters=20)
    before: list[Interval] = await month.store.intervals(BEGIN, month.now, None, list)
    assert len(await month.store.forget_ended(month.now)) > 10
    after: list[Interval] = await month.store.intervals(BEGIN, month.now, None, list)
    assert {each.job_id: each for each in after} == {each.job_id: each for each in before}
    await month.store.close()
