"""`dask-sluice doctor`: try every step from here to a result, and name the broken one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
import httpx

from ..client.async_gateway import AsyncGateway
from ..client.cluster import GatewayCluster
from . import output
from .exits import FAILED, Exit
from .finding import server_options, with_gateway

ADVICE = {
    "server": "Is the server running, and is this its address? Is a proxy or firewall in between?",
    "login": "Is the token or password the right one? `dask-sluice serve` prints an address that holds the token.",
    "scheduler": "The reason above is the server's. `dask-sluice logs NAME` shows what the scheduler wrote.",
    "proxy": "The API is reached and Dask's traffic is not: something between here and the server lets only HTTP pass.",
    "worker": "`dask-sluice show NAME` says why a worker is not there; `logs NAME --worker WORKER` what it wrote.",
    "compute": "The cluster is there and does not compute: compare the versions of dask here and in its environment.",
    "dashboard": "Is bokeh installed in the cluster's environment?",
    "stop": "`dask-sluice list` shows what is left.",
}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--step-timeout",
    "step_s",
    type=click.FloatRange(1),
    default=60.0,
    help="Seconds that each step may take; raise it where images have to be pulled.  [60]",
)
@server_options
def doctor_command(as_json: bool, step_s: float, **server: Any) -> None:
    """Try every step from here to a result: server, login, scheduler, proxy, worker, compute, dashboard, stop.

    Starts a cluster with one worker, and stops it again whatever happens.
    """
    steps = with_gateway(lambda gateway: _Examination(gateway, quiet=as_json, step_s=step_s).run())
    if as_json:
        output.as_json(steps)
    broken = next((step for step in steps if step["error"]), None)
    if broken:
        name = broken["step"]
        raise Exit(f"{name} is broken: {broken['error']}\n{ADVICE[name]}", FAILED)
    if not as_json:
        click.echo("everything works")


class _Examination:
    """The steps in order; the first broken one ends it, but for the stop of what was started."""

    def __init__(self, gateway: AsyncGateway, *, quiet: bool, step_s: float) -> None:
        self.gateway, self.quiet, self.step_s = gateway, quiet, step_s
        self.steps: list[dict[str, Any]] = []
        self.cluster: GatewayCluster | None = None
        self.name = ""
        self.client: Any = None

    async def run(self) -> list[dict[str, Any]]:
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("server", self.server),
            ("login", self.login),
            ("scheduler", self.scheduler),
            ("proxy", self.proxy),
            ("worker", self.worker),
            ("compute", self.compute),
            ("dashboard", self.dashboard),
        ]
        try:
            for name, step in steps:
                if not await self._try(name, step):
                    break
        finally:
            if self.name:
                await self._try("stop", self.stop)
        return self.steps

    async def _try(self, name: str, step: Callable[[], Awaitable[str]]) -> bool:
        began, error, told = time.monotonic(), "", ""
        try:
            told = await asyncio.wait_for(step(), self.step_s)
        except asyncio.TimeoutError:
            error = f"no answer within {self.step_s:g} s"
        except Exception as caught:  # noqa: BLE001  whatever breaks a step is what the doctor is asked for
            error = str(caught) or type(caught).__name__
        took = time.monotonic() - began
        self.steps.append({"step": name, "seconds": round(took, 3), "result": told, "error": error})
        if not self.quiet:
            mark = click.style("broken", fg="red") if error else click.style("ok", fg="green")
            click.echo(f"{name:<10} {mark:<6} {took:6.2f} s  {error.partition(chr(10))[0] or told}")
        return not error

    async def server(self) -> str:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.gateway.address}/api/version")
        answer.raise_for_status()
        return f"{self.gateway.address} is dask-sluice {answer.json()['version']}"

    async def login(self) -> str:
        info = await self.gateway.info()
        who = f"logged in as {info.user}{' (administrator)' if info.is_admin else ''}"
        return f"{who}; {info.draining}" if info.draining else who

    async def scheduler(self) -> str:
        view = await self.gateway.create(await self.gateway.checked(None, {}))
        self.name = view.name
        await self.gateway.wait_until_running(view)
        return f"cluster {self.name} runs"

    async def proxy(self) -> str:
        self.cluster = GatewayCluster.from_name(
            self.name, address=self.gateway.address, auth=self.gateway.auth, asynchronous=True, quiet=True
        )
        await self.cluster
        route = self.cluster.security.route if self.cluster.security else None
        return f"connected to {self.cluster.scheduler_address} by {route.transport if route else '?'}"

    async def worker(self) -> str:
        assert self.cluster is not None
        await self.gateway.scale_cluster(self.name, 1)
        self.client = await self.cluster.get_client(set_as_default=False)
        await self.client.wait_for_workers(1)
        return "one worker is connected"

    async def compute(self) -> str:
        return f"1 + 1 = {await self.client.submit(lambda: 1 + 1)}"

    async def dashboard(self) -> str:
        assert self.cluster is not None
        async with httpx.AsyncClient(follow_redirects=True) as http:
            header = self.gateway.auth.header()
            answer = await http.get(self.cluster.dashboard_link, headers={"Authorization": header} if header else {})
        answer.raise_for_status()
        return self.cluster.dashboard_link

    async def stop(self) -> str:
        if self.client is not None:
            await self.client.close()
        if self.cluster is not None:
            await self.cluster.close()
        await self.gateway.stop_cluster(self.name)
        view = await self.gateway.view(self.name)
        while not view.state.is_final:
            view = await self.gateway.wait(self.name, view.version)
        return view.reason.sentence
