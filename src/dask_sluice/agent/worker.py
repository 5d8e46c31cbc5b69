"""One worker: its Nanny in this process, the worker process forked from it.

Started without any token of the server; what it has to tell it tells its scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from typing import Any

import dask
import distributed.nanny
import distributed.process
import distributed.utils
from tornado.iostream import StreamClosedError

from ..wire.launch import WorkerLaunch
from ..wire.reasons import ReasonCode
from . import last_words
from .fork_server import warm_fork_server
from .nanny import WatchedNanny, make_nanny
from .rehearsal import rehearse
from .restarts import how_it_ended
from .scheduler_agent import LEAVE_OP
from .signals import Stopped, until
from .tls import StrictSecurity, security

log = logging.getLogger("sluice.agent")

_ENDED = "the worker process ended"
_SAYS_NOTHING = (_ENDED, "Nanny failed to start worker process")
SAYS_WHY_WITHIN_S = 10.0
"""A Nanny knows at once why its worker process could not start; one that has missed its end waits for a minute."""
CLOSE_WITHIN_S = 2.0
"""Whatever is left of a worker then dies with its Nanny."""
ANSWER_WITHIN_S = 3.0
"""A scheduler that does not answer by then has itself ended, or is about to."""


def run(launch: WorkerLaunch) -> int:
    """Be this worker until it ends; the exit code.

    raises  Stopped when a signal asked it to end
    """
    # To be called with one thread and no event loop.
    rehearse()
    identity = security(launch["tls"])
    with warm_fork_server() as method:
        _make_processes_by(method)
        return asyncio.run(_serve(launch, identity))


def _make_processes_by(method: str) -> None:
    dask.config.set({"distributed.worker.multiprocessing-method": method})
    if hasattr(distributed.utils, "_forkserver_preload_set"):
        # Else the Nanny imports pandas and more, for a fork server that it would have to start itself.
        distributed.utils._forkserver_preload_set = True
    if hasattr(distributed.utils, "mp_context"):
        # Releases before 2022.11 have chosen when they were imported.
        context = multiprocessing.get_context(method)
        for module in (distributed.utils, distributed.nanny, distributed.process):
            module.mp_context = context


async def _serve(launch: WorkerLaunch, identity: StrictSecurity) -> int:
    nanny = make_nanny(launch, identity)
    try:
        try:
            await _start(nanny)
        except Stopped:
            raise
        except Exception as error:  # of a preload, a plugin or distributed itself: any kind
            if nanny.let_go:
                log.info("no longer wanted before it was ready")
                return 0
            log.exception("the worker cannot start")
            last_words.say(ReasonCode.WORKER_START_FAILED, how=_why_it_did_not_start(nanny, error))
            return 1
        log.info("worker %s is ready at %s", launch["name"], nanny.worker_address)
        await until(nanny.finished())
    except Stopped:
        nanny.stopping = True
        await _leave(nanny)
        await _close(nanny)
        raise
    if nanny.gave_up is None:
        return 0
    last_words.say(nanny.gave_up.code, **nanny.gave_up.details)
    return 1


async def _start(nanny: WatchedNanny) -> None:
    await until(_started(nanny))
    if nanny.first_end.done():  # releases before 2022.11 do not raise
        raise RuntimeError(_ENDED)


async def _started(nanny: WatchedNanny) -> None:
    """Return or raise once the Nanny has: a little after its process ended at the latest, also where it missed that."""
    starting: asyncio.Future[Any] = asyncio.ensure_future(nanny)
    try:
        await asyncio.wait([starting, nanny.first_end], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([starting], timeout=SAYS_WHY_WITHIN_S)
        if not starting.done():
            raise RuntimeError(_ENDED)
        starting.result()
    finally:
        starting.add_done_callback(_is_seen)  # what it makes of being cancelled is of no interest
        starting.cancel()


def _is_seen(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _why_it_did_not_start(nanny: WatchedNanny, error: Exception) -> str:
    if nanny.first_end.done() and (exit_code := nanny.first_end.result()):  # 0: it could still say why
        return how_it_ended(exit_code)
    address = nanny.launch["scheduler_address"]
    first = last_words.first_cause(error)
    if str(first) in _SAYS_NOTHING:
        return "its process ended before it was ready; its log says why"
    if isinstance(first, asyncio.TimeoutError):
        return f"no answer from the scheduler at {address}"
    if isinstance(first, (OSError, StreamClosedError)):
        return f"no connection to the scheduler at {address}: {last_words.in_words(first)}"
    return last_words.in_words(first)


async def _leave(nanny: WatchedNanny) -> None:
    """Where a machine that is taken away gives notice by a signal: have others take what this worker holds."""
    leave_s = nanny.launch.get("leave_s", 0.0)
    if not leave_s or nanny.let_go or nanny.worker_address is None:
        return
    began = time.monotonic()
    ask = asyncio.ensure_future(getattr(nanny.scheduler, LEAVE_OP)(name=nanny.launch["name"]))
    gone = asyncio.ensure_future(nanny.finished())
    try:
        # A scheduler that ends itself does not answer, but has its workers end.
        await asyncio.wait([ask, gone], timeout=min(ANSWER_WITHIN_S, leave_s), return_when=asyncio.FIRST_COMPLETED)
        if ask.done() and ask.result():
            await asyncio.wait([gone], timeout=max(0.0, leave_s - (time.monotonic() - began)))
            how = "has been moved" if gone.done() else "could not all be moved"
            log.info("what this worker held %s in %.1f s", how, time.monotonic() - began)
    except Exception as error:  # noqa: BLE001  whatever distributed makes of it: it ends either way
        log.warning("the scheduler could not be asked to take what this worker holds: %s", last_words.in_words(error))
    finally:
        for task in (ask, gone):
            task.cancel()
        await asyncio.wait([ask, gone], timeout=CLOSE_WITHIN_S)


async def _close(nanny: WatchedNanny) -> None:
    try:
        await asyncio.wait_for(nanny.close(timeout=CLOSE_WITHIN_S / 2), CLOSE_WITHIN_S)
    except Exception:  # it ends either way, and its children with it
        log.warning("the worker did not close in time", exc_info=True)
    for process in multiprocessing.active_children():
        process.kill()
