"""Many running clusters in a database, without having waited for each: rows of a real one, under other names."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from bench.scale.http import Wire
from bench.scale.server import Server

_TABLES = {"clusters": "name", "secrets": "cluster"}
COPIES_AT_A_TIME = 500


def fill(server: Server, count: int) -> list[tuple[str, str]]:
    """Name and link token of `count` running clusters of as many users; the server is stopped after."""
    name = asyncio.run(_one_running(server))
    server.stop()
    engine = _engine(server)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        originals = {}
        for table, key in _TABLES.items():
            columns = metadata.tables[table].columns
            found = connection.execute(sa.select(*columns).where(columns[key] == name)).one()
            originals[table] = found._asdict()
        for first in range(1, count, COPIES_AT_A_TIME):
            numbers = range(first, min(count, first + COPIES_AT_A_TIME))
            for table, row in originals.items():
                copies = [_renamed(row, name, f"user{number}") for number in numbers]
                connection.execute(metadata.tables[table].insert(), copies)
        rows = connection.execute(sa.text("SELECT cluster, link_token FROM secrets")).all()
    engine.dispose()
    return [(str(cluster), str(token)) for cluster, token in rows]


def _renamed(row: dict[str, object], name: str, user: str) -> dict[str, object]:
    new = f"{user}-{name.rpartition('-')[2]}"
    return {
        key: value.replace(name, new).replace("user0", user) if isinstance(value, str) else value
        for key, value in row.items()
    }


async def _one_running(server: Server) -> str:
    wire = Wire(server.url, "user0")
    view = await wire.ask("POST", "/api/v2/clusters", {"options": {}})
    while view["state"] != "running":
        view = await wire.ask("GET", f"/api/v2/clusters/{view['name']}/wait?after_version={view['version']}")
    wire.close()
    return str(view["name"])


def _engine(server: Server) -> sa.Engine:
    if server.database is not None:
        return sa.create_engine(server.database.replace("postgresql:", "postgresql+psycopg:", 1))
    return sa.create_engine(f"sqlite:///{server.directory / 'data' / 'sluice.db'}")


def count(server: Server, query: str) -> int:
    """A number from the server's database, while it works."""
    engine = _engine(server)
    with engine.connect() as connection:
        found = int(connection.execute(sa.text(query)).scalar_one())
    engine.dispose()
    return found
