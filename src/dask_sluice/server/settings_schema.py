"""Every setting of the server: one schema, from which validation, `--help` and the reference page come.

The docstring under a field is its description: what it does, unit, why the default. Nothing is read from
the environment and nothing is accepted in silence: what is not here is refused (`settings_file.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from .backends.kubernetes.settings import KubernetesSettings
from .backends.local.settings import LocalSettings
from .identity.jupyterhub.settings import JupyterHubSettings
from .identity.passwords import is_hash
from .settings_leases import Leases
from .settings_limits import Limits
from .settings_notices import Notices
from .settings_parts import AnchoredPath, GroupName, Seconds, Secret, Section, Url, UserName
from .settings_policy import OptionSettings, PolicySettings, Profile
from .settings_usage import Usage

BUILT_IN_BACKENDS = ("local", "kubernetes", "fake")
BUILT_IN_AUTHENTICATORS = ("token", "basic", "jupyterhub")
_DOTTED = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?")


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _prefix(value: str) -> str:
    if value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError("must be empty or a path such as '/dask': a leading slash, no trailing one")
    return value


def _host_and_port(value: str) -> str:
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}", value):
        raise ValueError("must be a host and a port such as 'dask.example.org:8786'")
    return value


def _database_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if scheme != "postgresql" or not rest:
        raise ValueError(
            "must be an address such as 'postgresql://sluice@db.example.org/sluice'; leave it out for an SQLite file"
        )
    if re.match(r"[^/?@]*:[^/?@]*@", rest):
        raise ValueError("must not hold the password, since addresses are shown in logs: it has a key of its own")
    return value


def _hash(value: SecretStr) -> SecretStr:
    if not is_hash(value.get_secret_value()):
        raise ValueError("must be the hash of a password, as `dask-sluice hash-password` prints it")
    return value


def _kind(value: str) -> str:
    if not _DOTTED.fullmatch(value):
        raise ValueError("must be a short name or an import path such as 'package.module:Class'")
    return value


def _only_used(kind: str, name: str, given: bool) -> None:
    if given and kind != name:
        raise ValueError(f"has settings for {name!r}, but its kind is {kind!r}: remove the one or change the other")


def _free_settings(kind: str, built_in: tuple[str, ...], settings: dict[str, Any]) -> None:
    if settings and kind in built_in:
        raise ValueError(f"'settings' is for import paths; the settings of {kind!r} go into a section {kind!r}")


ExistingFile = Annotated[AnchoredPath, AfterValidator(_existing_file)]
Kind = Annotated[str, AfterValidator(_kind)]
PasswordHash = Annotated[SecretStr, AfterValidator(_hash)]


class Listen(Section):
    """Where the server is reached. One port carries the API, the page, dashboards and Dask's own traffic."""

    address: str = "127.0.0.1"
    """Address to listen on. The default is this machine only; `0.0.0.0` or `::` is every network it is in."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one, and the `ready:` line says which."""
    prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Path under which everything is reached, where another web server passes only a part on: `/dask`."""
    tls_certificate: ExistingFile | None = None
    """File with the certificate chain (PEM) for https; without one the API and the page are plain http.
    Dask's traffic is always encrypted, with certificates of its own."""
    tls_key: ExistingFile | None = None
    """File with the private key (PEM) of `tls_certificate`."""
    public_url: Url | None = None
    """Address that people use, where it differs from what the server sees, prefix included. Links are built on it."""
    dask_address: Annotated[str, AfterValidator(_host_and_port)] | None = None
    """`host:port` for Dask's traffic where a load balancer gives it another address than the API."""
    agent_url: Url | None = None
    """Address at which schedulers reach the server, where they have another way to it than people: the one inside
    Kubernetes, for one. Null: through the proxy, at the address that it listens on or, where servers share a database,
    at `public_url`."""
    for_proxies: Annotated[str, AfterValidator(_host_and_port)] | None = None
    """`address:port` at which the server waits for proxies that run elsewhere, each started with `dask-sluice proxy`.
    The server then starts none of its own, and what else is said here of listening is for those proxies. Plain HTTP:
    only proxies, schedulers (`agent_url`) and Prometheus should get there. Null: the server starts its own proxies."""
    proxy_token: Secret | None = Field(None, min_length=16)
    """The secret by which servers and proxies know each other. Null: the server makes one and keeps it as `proxy-token`
    in the data directory."""
    proxy_processes: int = Field(1, ge=1, le=64)
    """How many proxy processes share the port. One carries several Gbit/s; more help where one core is not enough."""
    max_connections_per_address: int = Field(1000, ge=1)
    """Connections that one client address may hold open. A notebook needs about ten; a shared login node needs many."""
    hello_timeout_s: Seconds = 10.0
    """Seconds that a client has to say what it wants after connecting; slower ones are cut off."""

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _a_way_for_schedulers(self) -> Self:
        if self.for_proxies is not None and self.agent_url is None:
            raise ValueError("for_proxies needs agent_url: where schedulers reach the server, which has no public port")
        return self


class Database(Section):
    """Where clusters are on record."""

    url: Annotated[str, AfterValidator(_database_url)] | None = None
    """Address of a PostgreSQL database, `postgresql://user@host:5432/name`, which several servers may share; needs the
    extra `postgresql`. Null: an SQLite file in the data directory, for one server."""
    password: Secret | None = None
    """Password of the database's user. Null: as PostgreSQL's own library finds it, from `~/.pgpass` for one."""

    @model_validator(mode="after")
    def _password_for_something(self) -> Self:
        if self.password is not None and self.url is None:
            raise ValueError("a password needs a url: the SQLite file has none")
        return self


class Basic(Section):
    """Log in by user name and password."""

    password: Secret | None = None
    """One password for everybody: any user name is accepted with it. Only for trying things out among friends:
    people can then pass for one another."""
    users: dict[UserName, PasswordHash] = {}
    """User names and the hashes of their passwords, as `dask-sluice hash-password` prints them."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.password is None) == (not self.users):
            raise ValueError("give either users (names and password hashes) or one shared password")
        return self


class Authenticator(Section):
    """Who may come in, and how they show who they are."""

    kind: Kind = "token"
    """`token`: one token, printed at the start, for the account that runs the server. `basic`: user names and
    passwords. `jupyterhub`: the users of a JupyterHub, see docs/jupyterhub.md. Or the import path of an authenticator:
    `package.module:Class`."""
    token: Secret | None = Field(None, min_length=16)
    """The token of `token`. Null: one is made at the first start, kept as `token` in the data directory, and printed as
    part of the address at every start."""
    basic: Basic | None = None
    """Settings of `basic`."""
    jupyterhub: JupyterHubSettings = JupyterHubSettings()
    """Settings of `jupyterhub`."""
    settings: dict[str, Any] = {}
    """Keyword arguments for an authenticator given by import path."""
    admins: frozenset[UserName] = frozenset()
    """Names of those who may see and stop everybody's clusters."""
    groups: dict[GroupName, tuple[UserName, ...]] = {}
    """Groups and their members. Limits, profiles and the usage ledger go by them; of several groups the first one
    named here is charged. An authenticator that knows groups of its own adds to these."""
    session_s: Seconds = 14 * 86400.0
    """Seconds that a browser stays logged in. Two weeks: a notebook left over a holiday still works."""

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> Self:
        if self.kind == "basic" and self.basic is None:
            raise ValueError("kind 'basic' needs the section 'basic' with users or a password")
        _only_used(self.kind, "basic", self.basic is not None)
        _only_used(self.kind, "token", self.token is not None)
        _only_used(self.kind, "jupyterhub", "jupyterhub" in self.model_fields_set)
        _free_settings(self.kind, BUILT_IN_AUTHENTICATORS, self.settings)
        return self


class FakeBackend(Section):
    """A backend that runs nothing and behaves as if it did: for trying the server, the page and clients."""

    preset: Literal[
        "well",
        "slow_to_start",
        "never_connects",
        "fails_during_start",
        "fails_after_connect",
        "refused",
        "workers_fail",
        "workers_get_lost",
    ] = "well"
    """What goes wrong, if anything."""


class Backend(Section):
    """Where clusters run."""

    kind: Kind = "local"
    """`local`: processes on this machine. `kubernetes`: pods. `fake`: nowhere. Or the import path of a backend:
    `package.module:Class`."""
    local: LocalSettings = LocalSettings()
    """Settings of `local`."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    """Settings of `kubernetes`. See docs/kubernetes.md."""
    fake: FakeBackend = FakeBackend()
    """Settings of `fake`."""
    settings: dict[str, Any] = {}
    """Keyword arguments for a backend given by import path."""

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> Self:
        for name in BUILT_IN_BACKENDS:
            _only_used(self.kind, name, name in self.model_fields_set)
        _free_settings(self.kind, BUILT_IN_BACKENDS, self.settings)
        return self


class Timeouts(Section):
    """How long things may take before the server does something about it. All in seconds."""

    scheduler_start_s: Seconds = 60.0
    """From submitting a scheduler to its call home; then the cluster fails. Raise it for slow network disks."""
    worker_start_s: Seconds = 120.0
    """From submitting a worker until it is connected to its scheduler; then it is given up and another is tried."""
    queue_s: Seconds | None = None
    """How long the backend may have no place for a scheduler, such as no node with room for it; then the cluster fails.
    Null: as long as that takes; its user sees what it waits for. It counts in no other time."""
    prepare_s: Seconds = 1800.0
    """How long a place may be made ready for a scheduler or a worker while nothing is wrong with it. Half an hour: an
    image of 20 GB over a slow line. Where something is wrong, such as an image that is not there, the others count."""
    retire_s: Seconds = 300.0
    """How long moving its data away may take before a surplus worker is ended all the same."""
    adaptive_patience_s: Seconds = 10.0
    """How long adaptive scaling must have had no use for workers before it gives them up; how long it rests after that,
    too. Raise it where workers take long to start. Ten seconds: longer than most people take between two cells."""
    scheduler_lost_s: Seconds = 900.0
    """How long a running scheduler may be out of touch with the server before its cluster is given up."""
    ended_kept_s: Seconds = 7 * 86400.0
    """How long clusters that have ended stay on record, with their events and logs. A week: a failure at the weekend
    can still be read on Monday."""


class Log(Section):
    """What the server writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are still written."""
    format: Literal["text", "json"] = "text"
    """`text` for people, `json` (one object a line) for programs."""


class Metrics(Section):
    """Numbers for Prometheus, at `/metrics`."""

    token: Secret | None = Field(None, min_length=16)
    """Bearer token with which `/metrics` may be read, and nothing else. Null: administrators only."""


class Health(Section):
    """When `/health/ready` says that the server is not."""

    disk_free_bytes: int = Field(200_000_000, ge=0)
    """Least free space on the data directory's disk, in bytes. 200 MB: below it the database may soon not be
    written."""


class Settings(Section):
    """Everything that can be set. Without a file all of it has its default, and the server works."""

    listen: Listen = Listen()
    """Where the server is reached."""
    data_dir: AnchoredPath | None = None
    """Folder for the database, the login token, logs and clusters' files. Null: the account's usual place for data."""
    database: Database = Database()
    """Where clusters are on record."""
    authenticator: Authenticator = Authenticator()
    """Who may come in."""
    backend: Backend = Backend()
    """Where clusters run."""
    options: dict[str, OptionSettings] = {}
    """What users may choose, by name. `worker_cores`, `worker_memory`, `worker_threads`, `environment`, `variables` and
    `dask_config` are there without being named; a key given here changes them, a new name is a new option."""
    profiles: dict[str, Profile] = {}
    """Named sizes, by name: users get the option `profile` with those that are open to them. The built-in options for
    sizes are then offered only where `options` names them. See docs/policy.md."""
    policy: PolicySettings = PolicySettings()
    """What clusters get, and the rules for it. See docs/policy.md."""
    limits: Limits = Limits()
    """What nobody may exceed."""
    leases: Leases = Leases()
    """How long clusters live."""
    timeouts: Timeouts = Timeouts()
    """How long things may take."""
    usage: Usage = Usage()
    """What using the machines costs, and who may spend how much."""
    notices: Notices = Notices()
    """Who else is told what becomes of clusters. See docs/operating.md."""
    on_stop: Literal["stop_clusters", "keep_clusters"] | None = None
    """What becomes of running clusters when the server is asked to stop. `stop_clusters` leaves nothing behind, as one
    expects of a server started in a terminal; `keep_clusters` lets them compute on, and the next start finds them
    again. Null: `stop_clusters`, but `keep_clusters` where servers share a database, since another one looks after
    them. A server that is killed always leaves them running."""
    metrics: Metrics = Metrics()
    """Who may read the metrics."""
    health: Health = Health()
    """When the server counts as ready."""
    drain: bool = False
    """Take no new clusters and let the rest run on, for as long as this is set. Without a restart:
    `dask-sluice drain`."""
    log: Log = Log()
    """What is written to standard error."""

    @property
    def stops_clusters(self) -> bool:
        """Whether all clusters end with this server."""
        return self.on_stop != "keep_clusters" and self.database.url is None

    @model_validator(mode="after")
    def _a_shared_database_for_shared_places(self) -> Self:
        if self.database.url is not None and self.backend.kind == "local":
            raise ValueError(
                "database.url is for servers that share their clusters, but those of backend 'local' are processes of"
                " one machine: leave database.url out, or choose another backend"
            )
        return self

    @model_validator(mode="after")
    def _no_server_ends_the_others_clusters(self) -> Self:
        if self.database.url is not None and self.on_stop == "stop_clusters":
            raise ValueError(
                "on_stop 'stop_clusters' would end the clusters of all servers that share the database: leave it out"
            )
        return self
