"""A real PostgreSQL for tests: Debian's package, on a directory and a Unix socket of its own, ended afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import URL

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ACCOUNT = "postgres" if os.geteuid() == 0 else None
"""It refuses to run as root."""
UNSAFE = "-c fsync=off -c full_page_writes=off"


class PostgreSQL:
    """One server; each test gets a database of its own."""

    def __init__(self, address: str = "", port: int = 5432, *, durable: bool = False) -> None:
        """`address`: where it listens besides, for whoever comes; empty: nowhere. `durable`: waits for the disk."""
        self._port = port
        self._options = (
            f"-c listen_addresses='{address}' -c port={port} -c max_connections=200 {'' if durable else UNSAFE}"
        )
        self.directory = Path(tempfile.mkdtemp(prefix="sluice-pg-"))
        if ACCOUNT:
            shutil.chown(self.directory, ACCOUNT, ACCOUNT)
        self._numbers = itertools.count()
        try:
            self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
            if address:
                with (self.directory / "data" / "pg_hba.conf").open("a") as file:
                    file.write("host all all all trust\n")
            self.start()
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def start(self) -> None:
        options = f"{self._options} -k {self.directory}"
        self._run("pg_ctl", "start", "-w", "-s", "-l", f"{self.directory}/log", "-o", options)

    def kill(self) -> None:
        """End it as a crash would; `start` again recovers what was written."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate")

    def close(self) -> None:
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory)

    def new_database(self) -> URL:
        """A fresh, empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return URL.create("postgresql+psycopg", "postgres", database=name, query={"host": str(self.directory)})

    def execute(self, statement: str) -> None:
        """Say something to the server itself, outside of any transaction."""
        with psycopg.connect(host=str(self.directory), port=self._port, user="postgres", autocommit=True) as connection:
            connection.execute(statement)

    def dump(self, database: URL, file: Path) -> None:
        """What `pg_dump` makes of this database, as `docs/operating.md` says."""
        self._client("pg_dump", "--format", "custom", "--file", str(file), str(database.database))

    def restore(self, database: URL, file: Path) -> None:
        """Put it back, as the page says."""
        self._client("pg_restore", "--clean", "--if-exists", "--dbname", str(database.database), str(file))

    def _client(self, command: str, *arguments: str) -> None:
        place = ["--host", str(self.directory), "--username", "postgres"]
        subprocess.run([BINARIES[-1] / command, *place, *arguments], stdin=subprocess.DEVNULL, check=True, timeout=60)

    def _run(self, command: str, *arguments: str) -> None:
        path = BINARIES[-1] / command
        done = subprocess.run(
            [path, "-D", self.directory / "data", *arguments],
            user=ACCOUNT,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if command == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if command == "initdb" else subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout or (self.directory / "log").read_text()


def address(database: URL) -> str:
    """As settings have it."""
    return f"postgresql://{database.username}@/{database.database}?host={database.query['host']}"
