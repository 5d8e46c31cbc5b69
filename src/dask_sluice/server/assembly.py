"""The core of a server, put together: everything between the store and the HTTP routes."""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from sqlalchemy import make_url

from ..wire.errors import BackendUnavailable
from .backends.fake import FakeBackend
from .backends.protocol import Backend, KeepsWarm
from .backends.registry import make_backend
from .budget_keeper import BudgetKeeper
from .budgets import Budgets
from .changes import Changes
from .clock import Clock
from .control import Control
from .decision import Rules
from .directories import Directories
from .drain import Drain
from .foundation import Foundation
from .health import HealthChecks
from .http.services import Services
from .identity.protocol import Authenticator
from .identity.registry import make_authenticator
from .identity.sessions import Sessions
from .jobs import LaunchSettings
from .links import Links
from .listening import local_address
from .loop import Loop
from .machine import this_machine
from .metrics import Metrics
from .notebooks import NotebookWatch
from .notices import Messenger
from .policy import Policy
from .policy.checks import refuse_unsupported
from .policy.hooks import Hooks
from .replica import Replica
from .routes import Routes
from .settings_schema import Database, Settings, Timeouts
from .startup import CannotStart
from .store import Store
from .store.schema import SchemaUnknown
from .turnstile import Turnstile
from .warm_jobs import warm_jobs


@dataclass(frozen=True)
class Core:
    """The parts that are started and stopped, and what the routes may use of them."""

    store: Store
    backend: Backend
    loop: Loop
    turnstile: Turnstile
    keeper: BudgetKeeper
    messenger: Messenger
    replica: Replica
    services: Services

    def start_links(self) -> None:
        """Let fake schedulers reach us; real ones come over the network."""
        if isinstance(self.backend, FakeBackend):
            self.backend.call_home_to(self.services.links)


async def build_core(settings: Settings, foundation: Foundation, clock: Clock, stopping: asyncio.Event) -> Core:
    """All parts, wired; store and authenticator are open, backend and loop are not started.

    The order of making is the order in which parts are told of a change: the proxy has a new route and the
    agent its orders before anybody who waits is woken.
    """
    places = foundation.places
    store = open_store(settings.database, places)
    backend = make_backend(settings.backend, places, store.kept_logs(clock))
    routes = Routes(store, await store.key("ticket-key", _random))
    loop = Loop(
        store,
        backend,
        clock,
        launch=LaunchSettings(server_url=link_base(settings, foundation.port)),
        rules=rules(settings.timeouts),
        keep_ended_s=settings.timeouts.ended_kept_s,
        log_dir=places.proxy_log.parent,
    )
    links = Links(store, loop, clock, patience_s=settings.timeouts.adaptive_patience_s)
    changes = Changes()
    store.on_change(changes)
    policy, hooks = make_policy(settings, backend, clock)
    if isinstance(backend, KeepsWarm):
        backend.keep_warm(await store.key("warm-key", _random), warm_jobs(settings, policy))
    turnstile = Turnstile(store, loop, clock, policy.limits)
    keeper = BudgetKeeper(store, loop, clock, Budgets(settings.usage))
    drain = Drain(store, clock, always=settings.drain)
    control = Control(store, policy, backend, changes, clock, drain, hooks, budgets=keeper)
    health = HealthChecks(
        store,
        loop,
        routes,
        clock,
        stopping,
        data_dir=places.data,
        least_free_bytes=settings.health.disk_free_bytes,
        needs_proxies=foundation.supervisor is not None,
    )
    authenticator = make_authenticator(settings.authenticator)
    await authenticator.start(places.data)
    services = Services(
        control=control,
        links=links,
        routes=routes,
        authenticator=authenticator,
        sessions=await _sessions(store, authenticator, settings.authenticator.session_s),
        settings=settings,
        clock=clock,
        proxy_token=foundation.proxy_token,
        backend=backend.describe().name,
        version=metadata.version("dask-sluice"),
        stopping=stopping,
        health=health,
        metrics=Metrics(store, loop, links, routes),
        notebooks=NotebookWatch(store, loop, clock, authenticator),
    )
    messenger = Messenger(store, clock, settings.notices)
    replica = Replica(store, loop, clock, _led(turnstile, messenger, backend))
    return Core(store, backend, loop, turnstile, keeper, messenger, replica, services)


def _led(turnstile: Turnstile, messenger: Messenger, backend: Backend) -> Callable[[bool], None]:
    """What is told whether this server decides for all."""

    def lead(leads: bool) -> None:
        turnstile.lead(leads)
        messenger.lead(leads)
        if isinstance(backend, KeepsWarm):
            backend.lead(leads)

    return lead


async def _sessions(store: Store, authenticator: Authenticator, session_s: float) -> Sessions:
    return Sessions((await store.key("session-key", _random)).hex(), authenticator.fingerprint, session_s=session_s)


def make_policy(settings: Settings, backend: Backend, clock: Clock) -> tuple[Policy, Hooks]:
    """What the settings decide, with the site's hooks; CannotStart where the backend cannot do what they say."""
    policy = Policy.of(settings, this_machine() if settings.backend.kind == "local" else None)
    hooks = Hooks(settings.policy, clock)
    hooks.load()
    refuse_unsupported(settings, backend)
    return policy, hooks


def open_store(database: Database, places: Directories) -> Store:
    """The store, open; what it says when it cannot be opened is what keeps the server from starting."""
    store = Store(places.database) if database.url is None else _shared_store(database.url, database)
    try:
        store.open()
    except (BackendUnavailable, SchemaUnknown) as error:
        raise CannotStart(error.message, hint=error.hint) from error
    return store


def _shared_store(address: str, database: Database) -> Store:
    if find_spec("psycopg") is None:
        raise CannotStart(
            "database.url names a PostgreSQL database, but the library for it is not installed",
            hint="pip install 'dask-sluice[postgresql]'",
        )
    url = make_url(address).set(drivername="postgresql+psycopg")
    if database.password is not None:
        url = url.set(password=database.password.get_secret_value())
    # A name for this run only: a server that is started anew shares nothing with its killed predecessor.
    return Store(url, replica=f"{socket.gethostname()[:60]}-{secrets.token_hex(4)}")


def rules(timeouts: Timeouts) -> Rules:
    """The administrator's times, for reconcile."""
    return Rules(
        retire_s=timeouts.retire_s,
        link_limit_s=timeouts.scheduler_lost_s,
        queue_limit_s=math.inf if timeouts.queue_s is None else timeouts.queue_s,
        prepare_limit_s=timeouts.prepare_s,
    )


def link_base(settings: Settings, port: int) -> str:
    """Where schedulers dial: as the administrator says; else through the proxy, so that a restart of the server is
    nothing to them; of several servers the address that leads to any of them.
    """
    listen = settings.listen
    if listen.agent_url is not None:
        return "ws" + listen.agent_url.removeprefix("http")
    if settings.database.url is not None and listen.public_url is not None:
        return "ws" + listen.public_url.removeprefix("http")
    host = local_address(listen.address)
    # The proxy takes plain HTTP from loopback even where it has a certificate.
    scheme = "wss" if listen.tls_certificate and host == listen.address else "ws"
    scheme = "ws" if host in ("127.0.0.1", "[::1]", "localhost") else scheme
    return f"{scheme}://{host}:{port}{listen.prefix}"


def _random() -> bytes:
    """A key of the server's own; stored, so that sessions and tickets outlive a restart."""
    return secrets.token_bytes(32)
