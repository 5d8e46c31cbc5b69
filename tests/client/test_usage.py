"""`Gateway.usage`: what was used, in either style, for times as Python has them."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from dask_sluice import AsyncGateway, Gateway
from dask_sluice.wire.errors import RequestInvalid

from ..live import LiveServer


def test_what_was_used_is_asked_for_by_dates_times_and_durations(live_server: LiveServer) -> None:
    with Gateway(live_server.url) as gateway:
        name = gateway.new_cluster(quiet=True).name
        now = datetime.now(timezone.utc)
        for since in ("1d", now - timedelta(days=1), now.date() - timedelta(days=1), date(2020, 1, 1)):
            report = gateway.usage("cluster", since)
            assert {"cluster": name} in [row.key for row in report.rows]
            assert report.by == ["cluster"]
        assert gateway.usage(since="2020-01-01", until=date(2020, 2, 1)).rows == ()
        assert name in gateway.usage_csv("cluster")
        assert gateway.usage_csv(focus=True).startswith("AvailabilityZone,BilledCost,")
        with pytest.raises(RequestInvalid, match="must be out of user, group"):
            gateway.usage("usr")


async def test_the_same_with_await(live_server: LiveServer) -> None:
    async with AsyncGateway(live_server.url) as gateway:
        assert (await gateway.usage("user,day")).by == ["user", "day"]
        assert (await gateway.usage_csv("group")).startswith("group,process_hours")
