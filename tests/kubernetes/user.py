"""A user without a client library, who sees what the API says."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, Self

import httpx

from ..live import LiveServer
from .kube import until

TOLD_WITHIN_S = 15.0
SLOW_S = 240.0
"""For many pods on a small machine."""


class User:
    """Somebody without a client library."""

    def __init__(self, server: LiveServer) -> None:
        self._http = httpx.Client(base_url=server.address, headers={"Authorization": f"Bearer {server.token}"})
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create(self, **options: Any) -> str:
        body = {"options": options}
        answer = self._http.post("/api/v2/clusters", json=body, headers={"Idempotency-Key": f"{time.time()}"})
        assert answer.is_success, answer.text
        return str(answer.json()["name"])

    def view(self, name: str) -> dict[str, Any]:
        return dict(self._http.get(f"/api/v2/clusters/{name}").json())

    def old_status(self, name: str) -> str:
        login = httpx.BasicAuth("me", self._server.token)
        answer = self._http.get(f"/api/v1/clusters/{name}", auth=login, headers={"Authorization": ""})
        return str(answer.json()["status"])

    def codes(self, name: str) -> list[str]:
        return [event["code"] for event in self._http.get(f"/api/v2/clusters/{name}/events").json()]

    def told(self, name: str, code: str) -> dict[str, Any]:
        until(lambda: self.view(name)["reason"]["code"] == code, f"{code} instead of {self.view(name)}", TOLD_WITHIN_S)
        return self.view(name)

    def started(self) -> str:
        """A new cluster that runs."""
        name = self.create()
        until(lambda: self.view(name)["state"] not in ("pending", "starting"), f"{name} has started")
        assert self.view(name)["state"] == "running", self.view(name)
        return name

    def started_with(self, count: int) -> str:
        """A new cluster that runs, and so do so many workers."""
        name = self.started()
        self.scale(name, count)
        self.has_running(name, count)
        return name

    def has_running(self, name: str, count: int, *, but: Collection[str] = ()) -> None:
        """Return once so many workers run, those of these names not counted."""

        def running() -> int:
            return sum(each["state"] == "running" and each["name"] not in but for each in self.workers(name))

        until(lambda: running() == count, f"{count} workers run", SLOW_S)

    def states(self, name: str) -> list[str]:
        return sorted(worker["state"] for worker in self.workers(name))

    def reasons(self, name: str) -> dict[str, str]:
        """The code of each worker's reason."""
        return {worker["name"]: worker["reason"]["code"] for worker in self.workers(name)}

    def scale(self, name: str, count: int) -> None:
        assert self._http.post(f"/api/v2/clusters/{name}/scale", json={"count": count}).is_success

    def workers(self, name: str) -> list[dict[str, Any]]:
        return list(self._http.get(f"/api/v2/clusters/{name}/workers").json())

    def stop(self, name: str) -> None:
        assert self._http.delete(f"/api/v2/clusters/{name}").is_success
        until(lambda: self.view(name)["state"] in ("stopped", "failed"), f"{name} has ended")

    def credentials(self, name: str) -> dict[str, str]:
        return dict(self._http.get(f"/api/v2/clusters/{name}/credentials").json())
