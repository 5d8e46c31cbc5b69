"""The scheduler's dashboard, made when the first of its pages is asked for.

It takes as long as all the rest of a scheduler's start, and most are never looked at.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import sys
from typing import Any

from tornado.web import Application

log = logging.getLogger("sluice.agent")

_MODULE = "distributed.dashboard.scheduler"
_APOLOGY = "distributed.http.scheduler.missing_bokeh"


def can_be_made() -> bool:
    """Whether this environment has what a dashboard needs. Quick: nothing large is imported."""
    return importlib.util.find_spec("bokeh") is not None


async def import_early() -> None:
    """Where it is not in memory already, import it beside other work: a first page should not hold up the scheduler."""
    if _MODULE not in sys.modules:
        await asyncio.to_thread(_module)


def serve_on_demand(scheduler: Any) -> None:
    """Make the dashboard when the scheduler's HTTP server is asked for something that it does not have."""
    scheduler.http_application.add_application(_OnDemand(scheduler))


def _module() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:  # a release of bokeh that this release of distributed does not know
        log.warning("there is no dashboard: %s", error)
        return None


class _OnDemand(Application):
    """Looks like one more application of the HTTP server, has no pages, and adds the one that has them."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self._scheduler: Any = scheduler

    def find_handler(self, request: Any, **kwargs: Any) -> Any:
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            _make(scheduler)
        return None  # it is asked next


def _make(scheduler: Any) -> None:
    module = _module()
    if module is not None:
        module.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="/")
        return
    from distributed.http.utils import get_handlers

    apology = Application(get_handlers(server=scheduler, modules=[_APOLOGY], prefix="/"))
    scheduler.http_application.add_application(apology)
