"""One scheduler: distributed's own, with its agent beside it."""

from __future__ import annotations

import asyncio
import logging

from distributed import Scheduler

from ..wire.launch import SchedulerLaunch
from . import dashboard
from .scheduler_agent import SchedulerAgent
from .signals import until
from .tls import security

log = logging.getLogger("sluice.agent")

CLOSE_WITHIN_S = 2.0


def run(launch: SchedulerLaunch) -> int:
    """Be this scheduler until it ends; the exit code: 0 when the server or a client asked for it.

    raises  Stopped when a signal asked it to end
    """
    return asyncio.run(_serve(launch))


async def _serve(launch: SchedulerLaunch) -> int:
    scheduler = Scheduler(
        host=launch["host"],
        port=launch["port"],
        protocol="tls",
        security=security(launch["tls"]),
        dashboard=not dashboard.can_be_made(),  # then distributed puts a page that says what is missing
        dashboard_address=f"{launch['host']}:{launch['dashboard_port']}",
    )
    if dashboard.can_be_made():
        dashboard.serve_on_demand(scheduler)
    try:
        await until(scheduler)
        agent = SchedulerAgent(scheduler, launch)
        agent.start()
        if dashboard.can_be_made():
            agent.in_background(dashboard.import_early())
        await until(_either(scheduler, agent))
        await agent.close()
    finally:
        await _close(scheduler)
    return 0


async def _either(scheduler: Scheduler, agent: SchedulerAgent) -> None:
    """Until the server asks for the end, or a client has closed the scheduler."""
    waiting = [asyncio.ensure_future(agent.stop_asked.wait()), asyncio.ensure_future(scheduler.finished())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _close(scheduler: Scheduler) -> None:
    try:
        await asyncio.wait_for(scheduler.close(), CLOSE_WITHIN_S)
    except asyncio.TimeoutError:
        log.warning("the scheduler did not close in time")
