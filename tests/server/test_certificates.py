"""Certificates speak for one role in one cluster, and pass the strictest checks."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from dask_sluice.server.certificates import CLIENT_LIFE_S, Identity, Role, issue, new_authority

STRICT = 0x20 | 0x80000  # X509_STRICT and PARTIAL_CHAIN: what Python 3.13 turns on


def context(side: ssl.Purpose, authority: Identity, own: Identity, directory: Path) -> ssl.SSLContext:
    """As distributed makes them: both sides show a certificate, names are not compared."""
    made = ssl.create_default_context(side, cadata=authority.certificate)
    made.verify_flags |= ssl.VerifyFlags(STRICT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    file = directory / f"{id(own)}.pem"
    file.write_text(own.certificate + own.key)
    made.load_cert_chain(file)
    return made


async def talk(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """What the server says to the client over TLS."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server)
    try:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()
    finally:
        listening.close()


class Cluster:
    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory
        self.name = name
        self.authority = new_authority(name, time.time())

    def identity(self, role: Role, now: float | None = None) -> Identity:
        now = time.time() if now is None else now
        return issue(self.authority.certificate, self.authority.key, role, self.name, role.name.lower(), now)

    def server(self, role: Role) -> ssl.SSLContext:
        return context(ssl.Purpose.CLIENT_AUTH, self.authority, self.identity(role), self.directory)

    def client(self, role: Role, now: float | None = None) -> ssl.SSLContext:
        return context(ssl.Purpose.SERVER_AUTH, self.authority, self.identity(role, now), self.directory)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster("ada-12345678", tmp_path)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (Role.SCHEDULER, Role.CLIENT),
        (Role.SCHEDULER, Role.WORKER),
        (Role.WORKER, Role.SCHEDULER),
        (Role.WORKER, Role.WORKER),
    ],
)
async def test_the_members_of_a_cluster_trust_one_another(cluster: Cluster, server: Role, client: Role) -> None:
    assert await talk(cluster.server(server), cluster.client(client)) == "welcome"


async def test_a_client_cannot_pass_for_a_scheduler(cluster: Cluster) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        await talk(cluster.server(Role.CLIENT), cluster.client(Role.WORKER))


async def test_another_clusters_scheduler_is_not_trusted(cluster: Cluster, tmp_path: Path) -> None:
    other = Cluster("grace-12345678", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(other.server(Role.SCHEDULER), cluster.client(Role.CLIENT))


async def test_an_expired_client_is_turned_away(cluster: Cluster) -> None:
    expired = cluster.client(Role.CLIENT, time.time() - 2 * CLIENT_LIFE_S)
    try:
        said = await talk(cluster.server(Role.SCHEDULER), expired)
    except (ssl.SSLError, ConnectionError):
        said = ""  # in TLS 1.3 a client may learn of it now, or by the end of the connection
    assert said == ""


async def test_one_pem_is_all_that_dask_gateways_clients_need(cluster: Cluster, tmp_path: Path) -> None:
    """They load the same file as authorities, certificate and key (reference, section 5)."""
    own = cluster.identity(Role.CLIENT)
    certificates, key = tmp_path / "dask.crt", tmp_path / "dask.pem"
    certificates.write_text(own.certificate + cluster.authority.certificate)
    key.write_text(own.key)
    stock = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificates))
    stock.verify_flags |= ssl.VerifyFlags(STRICT)
    stock.check_hostname = False
    stock.load_cert_chain(certificates, key)
    assert await talk(cluster.server(Role.SCHEDULER), stock) == "welcome"


def test_a_certificate_says_when_it_expires(cluster: Cluster) -> None:
    now = time.time()
    assert abs(cluster.identity(Role.CLIENT, now).expires_at - now - CLIENT_LIFE_S) < 2
