"""Bodies of the v2 API are read leniently: a newer server may send more."""

import dataclasses
import json

from dask_sluice.wire.api import AdaptiveView, ClusterView, ReasonView, WorkerCounts, read
from dask_sluice.wire.states import ClusterState

VIEW = ClusterView(
    name="alice-1",
    owner="alice",
    state=ClusterState.RUNNING,
    phase="",
    reason=ReasonView("running", "running"),
    version=7,
    options={"worker_cores": 1},
    workers=WorkerCounts(2, 0, 2, 0),
    adaptive=AdaptiveView(0, None),
    created_at=1.0,
    started_at=2.0,
    ended_at=None,
    dashboard_path="/clusters/alice-1/status",
    tunnel_path="/tunnel/alice-1",
    server_name="daskgateway-alice-1",
)


def test_a_view_survives_json() -> None:
    assert read(ClusterView, json.loads(json.dumps(dataclasses.asdict(VIEW)))) == VIEW


def test_fields_from_a_newer_server_are_ignored_at_every_level() -> None:
    data = dataclasses.asdict(VIEW)
    data["new"] = 1
    data["workers"]["new"] = 1
    assert read(ClusterView, data) == VIEW
