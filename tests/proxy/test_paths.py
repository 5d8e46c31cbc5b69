"""Where a path leads."""

from __future__ import annotations

import pytest

from dask_sluice.proxy.paths import (
    Destination,
    Elsewhere,
    Nowhere,
    ToDashboard,
    ToProxy,
    ToServer,
    ToTunnel,
    destination,
)


@pytest.mark.parametrize(
    ("target", "goal"),
    [
        ("/", ToServer("/")),
        ("/api/v1/clusters/", ToServer("/api/v1/clusters/")),
        ("/api/v2/clusters/c1?x=1", ToServer("/api/v2/clusters/c1?x=1")),
        ("/clusters", ToServer("/clusters")),
        ("/clusters/", ToServer("/clusters/")),
        ("/clusters/c1", ToDashboard("c1", None, "", "")),
        ("/clusters/c1/", ToDashboard("c1", None, "/", "")),
        ("/clusters/c1/status?a=b", ToDashboard("c1", None, "/status", "?a=b")),
        ("/clusters/c1/status/ws", ToDashboard("c1", None, "/status/ws", "")),
        ("/clusters/c1/~9.YQ.f/status", ToDashboard("c1", "9.YQ.f", "/status", "")),
        ("/clusters/c1/~9.YQ.f", ToDashboard("c1", "9.YQ.f", "", "")),
        ("/clusters/ns.c1/x", ToDashboard("ns.c1", None, "/x", "")),
        ("/clusters/../api", ToServer("/clusters/../api")),
        ("/clusters/%2e%2e/api", ToServer("/clusters/%2e%2e/api")),
        ("/health/proxy", ToProxy(ready=True)),
        ("/health/proxy/live?x", ToProxy(ready=False)),
        ("/health/ready", ToServer("/health/ready")),
        ("/tunnel/c1", ToTunnel("c1")),
        ("/tunnel/c1/more", ToServer("/tunnel/c1/more")),
        ("http://host:1/clusters/c1/x?y", ToDashboard("c1", None, "/x", "?y")),
        ("*", Nowhere()),
        ("host:443", Nowhere()),
    ],
)
def test_a_path_leads_to_one_place(target: str, goal: Destination) -> None:
    assert destination(target, "") == goal


@pytest.mark.parametrize(
    ("target", "goal"),
    [
        ("/dask/", ToServer("/")),
        ("/dask", Elsewhere("/dask/")),
        ("/?token=t", Elsewhere("/dask/?token=t")),
        ("/dask/clusters/c1/x", ToDashboard("c1", None, "/x", "")),
        ("/clusters/c1/x", Nowhere()),
        ("/daskapi", Nowhere()),
    ],
)
def test_a_prefix_is_taken_off(target: str, goal: Destination) -> None:
    assert destination(target, "/dask") == goal
