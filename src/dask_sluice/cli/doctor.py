"""`dask-sluice doctor`: try every step from here to a result, and name the broken one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import httpx

from ..client.async_gateway import AsyncGateway
from ..client.auth import NoAuth
from ..client.errors import GatewayClusterError, GatewayServerError
from ..client.explain import foreign, unreachable
from ..wire.errors import SluiceError
from ..wire.states import WorkerState
from . import output
from .clusters import options_of
from .exits import FAILED, Exit
from .finding import find_gateway, server_options
from .way import Way

if TYPE_CHECKING:
    from ..client.cluster import GatewayCluster

STEPS: Mapping[str, tuple[str, str]] = {
    "address": (
        "which server, and how to log in, as told here",
        "Pass --address, or set sluice.address in Dask's configuration; `dask-sluice serve` prints the address.",
    ),
    "name": ("its name has an address", "Is the name spelt right?"),
    "network": ("a connection can be made", "Is the server running, and is this its address?"),
    "tls": ("where the address begins with https, the certificate fits", "Is https right for this port?"),
    "server": ("a dask-sluice server answers", "Is this its address? Is a proxy or firewall in between?"),
    "health": (
        "the server has what it needs: database, backend, proxy, disk",
        "This is for an administrator of the server: its log says more.",
    ),
    "login": (
        "it knows who we are",
        "Is the token or password the right one? `dask-sluice serve` prints an address that holds the token.",
    ),
    "options": (
        "it would start such a cluster",
        "`dask-sluice options` lists what can be chosen; -o and cluster.options of Dask's configuration choose.",
    ),
    "scheduler": (
        "a cluster starts",
        "The reason above is the server's. `dask-sluice logs NAME` shows what the scheduler wrote.",
    ),
    "proxy": (
        "Dask's own traffic reaches it",
        "The API is reached and Dask's traffic is not. Whatever stands in between has to let WebSockets pass at "
        "/tunnel/; or listen.dask_address names a way for TCP.",
    ),
    "worker": (
        "a worker starts",
        "`dask-sluice show NAME` says why a worker is not there; `logs NAME --worker WORKER` what it wrote.",
    ),
    "compute": (
        "a task has a result",
        "The cluster is there and does not compute: `dask-sluice logs NAME` shows what its scheduler says.",
    ),
    "dashboard": ("its dashboard is shown", "Is bokeh installed in the cluster's environment?"),
    "public_url": ("the links that people get lead here", "An administrator sets listen.public_url."),
    "stop": ("the cluster ends", "`dask-sluice list` shows what is left."),
}
"""Every step, what it shows, and what to do where it is broken and the error itself does not say."""


HEALTH: Mapping[str, str] = {
    "database": "An administrator looks at the database (database.url): it has ended, or the server cannot reach it.",
    "backend": "An administrator looks at what runs the clusters: it is away, or does not let the server in.",
    "proxy": "It is started again by itself; if it stays away, the server's log says why.",
    "disk": "An administrator makes room on that disk; health.disk_free_bytes is the least that is to be free.",
    "server": "Try again once it has started again.",
}
"""What to do about each check of the server's health."""
LAST_WORD_S = 5.0
"""How long the server may take to say what a step has waited for in vain."""


@click.command("doctor")
@click.option("-o", "--option", "given", multiple=True, metavar="NAME=VALUE", help="A cluster option; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--step-timeout",
    "step_s",
    type=click.FloatRange(1),
    default=60.0,
    help="Seconds that each step may take; raise it where images have to be pulled.  [60]",
)
@server_options
def doctor_command(given: Sequence[str], as_json: bool, step_s: float, **server: Any) -> None:
    """Try every step from here to a result, and name the broken one.

    Starts a cluster with one worker, and stops it again whatever happens.
    """
    examination = _Examination(options_of(given), quiet=as_json, step_s=step_s)
    steps = asyncio.run(examination.run())
    if as_json:
        output.as_json(steps)
    broken = next((step for step in steps if step["error"]), None)
    if broken:
        raise Exit(f"{broken['step']} is broken: {broken['error']}\n{broken['hint']}", FAILED)
    if not as_json:
        click.echo("everything works")


class _Examination:
    """The steps in order; the first broken one ends it, but for the stop of what was started."""

    gateway: AsyncGateway
    way: Way

    def __init__(self, options: Mapping[str, Any], *, quiet: bool, step_s: float) -> None:
        self.chosen, self.quiet, self.step_s = options, quiet, step_s
        self.steps: list[dict[str, Any]] = []
        self.health_found: dict[str, Any] = {}
        self.cluster: GatewayCluster | None = None
        self.name_of_cluster = ""
        self.client: Any = None

    async def run(self) -> list[dict[str, Any]]:
        try:
            for name in STEPS:
                if name == "stop" or (name == "tls" and not self.way.has_tls):
                    continue
                if not await self._try(name, getattr(self, name)):
                    break
        finally:
            if self.name_of_cluster:
                await self._try("stop", self.stop)
            if hasattr(self, "gateway"):
                await self.gateway.close()
        return self.steps

    async def _try(self, name: str, step: Callable[[], Awaitable[str]]) -> bool:
        began, told = time.monotonic(), ""
        error: Exception | None = None
        try:
            told = await asyncio.wait_for(step(), self.step_s)
        except asyncio.TimeoutError:
            error = await self._waited()
        except Exception as caught:  # noqa: BLE001  whatever breaks a step is what the doctor is asked for
            error = caught
        took = time.monotonic() - began
        self.steps.append({"step": name, "seconds": round(took, 3), "result": told, **_told(name, error)})
        if not self.quiet:
            mark = click.style("broken", fg="red") if error else click.style("ok", fg="green")
            said = self.steps[-1]["error"] or told
            click.echo(f"{name:<10} {mark:<6} {took:6.2f} s  {said.partition(chr(10))[0]}")
        return error is None

    async def _waited(self) -> SluiceError:
        """The error of a step whose time is over: what the server says it waits for."""
        if (trouble := self.gateway.trouble) is not None:
            return trouble
        if self.name_of_cluster:
            with contextlib.suppress(SluiceError, asyncio.TimeoutError):
                view = await asyncio.wait_for(self.gateway.view(self.name_of_cluster), LAST_WORD_S)
                return SluiceError(f"not done after {self.step_s:g} s: {view.reason.sentence}", hint=view.reason.hint)
        return SluiceError(f"no answer within {self.step_s:g} s")

    async def address(self) -> str:
        self.gateway = find_gateway()
        self.way = Way(self.gateway.address, self.gateway.http_proxy)
        return f"{self.gateway.address}, with {type(self.gateway.auth).__name__}"

    async def name(self) -> str:
        return await self.way.name()

    async def network(self) -> str:
        return await self.way.network()

    async def tls(self) -> str:
        return await self.way.tls()

    async def server(self) -> str:
        self.health_found = await self.gateway.health()
        return f"{self.gateway.address} is dask-sluice {self.health_found['version']}"

    async def health(self) -> str:
        """Administrators are told more than the sentence."""
        wrong = [check for check in self.health_found["checks"] if not check["ok"]]
        if wrong:
            details = [f" ({each['detail'].partition(chr(10))[0]})" if each["detail"] else "" for each in wrong]
            said = "; ".join(each["sentence"] + detail for each, detail in zip(wrong, details, strict=True))
            error = GatewayServerError(f"the server is not ready: {said}", hint=HEALTH.get(wrong[0]["name"], ""))
            error.code = f"{wrong[0]['name']}_not_ready"
            raise error
        return "the server is ready"

    async def login(self) -> str:
        info = await self.gateway.info()
        who = f"logged in as {info.user}{' (administrator)' if info.is_admin else ''}"
        return f"{who}; {info.draining}" if info.draining else who

    async def options(self) -> str:
        plan = await self.gateway.plan(None, **self.chosen)
        return f"{len(plan.values)} values, from the server's settings and {len(self.chosen)} options"

    async def scheduler(self) -> str:
        view = await self.gateway.create(await self.gateway.checked(None, self.chosen))
        self.name_of_cluster = view.name
        await self.gateway.wait_until_running(view)
        return f"cluster {view.name} runs"

    async def proxy(self) -> str:
        from ..client.cluster import GatewayCluster
        from ..client.comm import route_to

        route = await route_to(self.gateway, await self.gateway.view(self.name_of_cluster))
        (await route.open()).close()  # once without distributed, which would try for half a minute and then not say why
        self.cluster = GatewayCluster.from_name(
            self.name_of_cluster, address=self.gateway.address, auth=self.gateway.auth, asynchronous=True, quiet=True,
            transport=route.transport,
        )  # fmt: skip
        await self.cluster
        how = f"in a WebSocket, since not directly: {route.trouble}" if route.trouble else f"by {route.transport}"
        return f"connected to {self.cluster.scheduler_address} {how}"

    async def worker(self) -> str:
        assert self.cluster is not None
        await self.gateway.scale_cluster(self.name_of_cluster, 1)
        version = 0
        while True:
            view = await self.gateway.wait(self.name_of_cluster, version)
            workers = await self.gateway.workers(self.name_of_cluster)
            failed = next((each for each in workers if each.state is WorkerState.FAILED), None)
            if failed is not None:
                raise GatewayClusterError(f"{failed.name} {failed.reason.sentence}", hint=failed.reason.hint)
            if view.workers.running:
                return "one worker is connected"
            version = view.version

    async def compute(self) -> str:
        from distributed.versions import get_versions

        assert self.cluster is not None
        here, there = _versions(get_versions()), _versions(await self.cluster.scheduler_comm.versions())
        differ = "" if here == there else f"{there} in the cluster, {here} here"
        try:
            self.client = await self.cluster.get_client(set_as_default=False)
            result = f"1 + 1 = {await self.client.submit(lambda: 1 + 1)}"
        except Exception as error:
            if not differ:
                raise
            raise GatewayClusterError(
                f"the cluster does not compute, and its versions are others: {differ}; {error}",
                hint="Choose an environment for the cluster that has your versions, or install its versions here.",
            ) from error
        return f"{result}; {differ}" if differ else result

    async def dashboard(self) -> str:
        path = (await self.gateway.view(self.name_of_cluster)).dashboard_path
        if path is None:
            raise GatewayClusterError("the scheduler has no dashboard")
        return await self._page(self.gateway.address + path)

    async def public_url(self) -> str:
        """Asked as anybody would: our token is for the server, which this may not be."""
        url = await self.gateway.public_url()
        try:
            async with AsyncGateway(url, auth=NoAuth()) as gateway:
                await gateway.health()
        except SluiceError as error:
            raise GatewayServerError(
                f"links to dashboards begin with {url}, where this server is not: {error.message}",
                hint="An administrator sets listen.public_url. Where only browsers can reach it, all is well.",
            ) from error
        return f"links begin with {url}"

    async def stop(self) -> str:
        if self.client is not None:
            await self.client.close()
        if self.cluster is not None:
            await self.cluster.close()
        await self.gateway.stop_cluster(self.name_of_cluster)
        view = await self.gateway.view(self.name_of_cluster)
        while not view.state.is_final:
            view = await self.gateway.wait(self.name_of_cluster, view.version)
        return view.reason.sentence

    async def _page(self, url: str) -> str:
        header = self.gateway.auth.header()
        try:
            async with httpx.AsyncClient(follow_redirects=True) as http:
                answer = await http.get(url, headers={"Authorization": header} if header else {})
        except httpx.TransportError as error:
            raise unreachable(self.gateway.address, error, answered=True) from error
        if not answer.is_success:
            raise foreign(self.gateway.address, answer)
        if "needs bokeh" in answer.text:  # distributed's page in its place, with status 200
            raise GatewayClusterError(
                "the scheduler shows no dashboard: its environment lacks bokeh",
                hint="Install it there: python -m pip install bokeh. Clusters compute without it.",
            )
        return url


def _versions(found: Mapping[str, Any]) -> str:
    """What has to fit, out of distributed's `get_versions`."""
    packages = found["packages"]
    return f"distributed {packages['distributed']} on Python {packages['python'].rpartition('.')[0]}"


def _told(step: str, error: Exception | None) -> dict[str, str]:
    """An error as a step tells it: code, sentence, and what to do."""
    if error is None:
        return {"code": "", "error": "", "hint": ""}
    advice = STEPS[step][1]
    if isinstance(error, SluiceError):
        request = f" (request {error.request_id})" if error.status >= 500 and error.request_id else ""
        return {"code": error.code, "error": error.message + request, "hint": error.hint or advice}
    if isinstance(error, Exit):
        sentence, _, hint = error.message.partition("\n")
        return {"code": f"{step}_wrong", "error": sentence, "hint": hint or advice}
    return {"code": f"{step}_failed", "error": str(error) or type(error).__name__, "hint": advice}
