"""Fills the caches that every scheduler and worker would otherwise fill for itself, right when it is waited for.

Called before a fork: by the nursery, and by a worker before it forks its fork server. Nothing here starts a
thread or a process that stays, or opens a socket. Each step only saves time, so one that a release does not have is
left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
from typing import Any


def rehearse() -> None:
    """Do once what each process does first."""
    for step in (_versions, _certificates, _pages, _optional_package):
        with contextlib.suppress(ImportError, AttributeError, OSError):
            step()


def _versions() -> None:
    """What workers and clients compare: reads the metadata of packages, asks the system for its processor's name."""
    from distributed.versions import get_versions

    get_versions()
    platform.uname().processor  # noqa: B018 - kept once asked for


def _certificates() -> None:
    """Tornado's default TLS contexts: read all certificates that the system trusts, and are then not used."""
    import tornado.netutil as netutil

    defaults: list[Any] = [netutil._client_ssl_defaults, netutil._server_ssl_defaults]
    for make in defaults:
        if callable(make):  # since tornado 6.6; before, they are made by the import
            make()


def _pages() -> None:
    """Patterns of the HTTP server's pages, compiled."""
    import dask
    from distributed.http.routing import RoutingApplication
    from distributed.http.utils import get_handlers

    for role in ("scheduler", "worker"):
        modules = dask.config.get(f"distributed.{role}.http.routes")
        RoutingApplication(get_handlers(server=None, modules=modules, prefix="/"))


def _optional_package() -> None:
    """Looked for by each system monitor, and where it is missing, all of the path is searched."""
    importlib.util.find_spec("gilknocker")
