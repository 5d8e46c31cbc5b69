"""What keeps a server from starting."""

from __future__ import annotations

from .catalogue import Catalogue
from .standins import Seen, Site

ENTRIES = Catalogue()


@ENTRIES.add(
    "another program has the port",
    "serve",
    "port {port} on {host} is taken by another program",
    "Is another dask-sluice server running? Stop it, or take any free port: --port 0",
)
def port_taken(site: Site) -> Seen:
    return site.serve("--port", site.live.address.rpartition(":")[2])


@ENTRIES.add(
    "a second server on the same data",
    "serve",
    "another dask-sluice server already runs on {data directory}: process {n} at {address}",
    "Stop that one, or give this one a --data-dir and a --port of its own.",
)
def second_server(site: Site) -> Seen:
    return site.serve("--port", "0", "--data-dir", str(site.live.data_dir))


@ENTRIES.add(
    "an unknown key in the file",
    "serve",
    "{file}, line {n}: unknown key 'prot' in listen.",
    "Did you mean 'port'? Known in listen: {keys}.",
)
def unknown_key(site: Site) -> Seen:
    return site.serve(listen={"prot": 8000})


@ENTRIES.add(
    "a data directory that cannot be written",
    "serve",
    "cannot use the data directory {path}: {what the system said}",
    "Give one that this account may write to: --data-dir DIRECTORY",
)
def data_not_writable(site: Site) -> Seen:
    return site.serve("--port", "0", "--data-dir", "/proc/self/dask-sluice")


@ENTRIES.add(
    "an image in the settings of a server whose clusters are processes",
    "serve",
    "{file}, line {n}: policy.defaults.image: the backend 'local' runs no container images",
    "leave it out, or choose a backend whose clusters are containers",
)
def image_for_processes(site: Site) -> Seen:
    return site.serve("--port", "0", policy={"defaults": {"image": "lab/dask:1"}})


@ENTRIES.add(
    "the database is away at the start",
    "serve",
    "the server cannot use its database {address}: {why}",
    "Ask the administrator to look at the database server.",
)
def no_database(site: Site) -> Seen:
    database = {"url": f"postgresql://dask@{site.closed_port()}/dask"}
    return site.serve("--port", "0", "--data-dir", str(site.data_dir()), database=database, backend={"kind": "fake"})
