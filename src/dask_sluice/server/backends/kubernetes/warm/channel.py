"""How a waiting pod learns whose scheduler it is: once, over TLS, each side sure of the other.

Both sides' proofs come from one key of the server's own and the pod's uid, so any server that shares the database
can claim any pod, and nothing is stored. The pod has only what was worked out for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from .....wire.launch import Claim, WaitingLaunch
from ...protocol import Job
from ..objects import ALL_ADDRESSES, SCHEDULER_PORT, launch_of

WAIT_S = 6 * 3600.0
"""A pod waits so long, then another takes its place: it runs on an image that is not older than that, and what a
server leaves that never comes back takes up no room for ever."""
LIFE = timedelta(days=30)
ANSWER_S = 5.0
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class NotGiven(Exception):
    """The pod did not take the identity, and does not know it."""


@dataclass(frozen=True)
class Proofs:
    """What the two show each other."""

    token: str
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, master: bytes, uid: str) -> Proofs:
        """Those of the pod with this uid."""

        def part(what: str) -> bytes:
            return hmac.digest(master, f"{what}|{uid}".encode(), "sha256")

        number = int.from_bytes(part("key") + part("more")) % (_P256_ORDER - 1) + 1
        return cls(part("token").hex(), ec.derive_private_key(number, ec.SECP256R1()))

    @property
    def public(self) -> bytes:
        return _bytes_of(self.key.public_key())


def waiting_launch(proofs: Proofs, now: datetime | None = None) -> WaitingLaunch:
    """The launch document of a waiting pod."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "waiting")])
    begin = (now or datetime.now(UTC)) - timedelta(minutes=5)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(proofs.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + LIFE)
        .sign(proofs.key, SHA256())
    )
    return WaitingLaunch(
        role="waiting",
        host=ALL_ADDRESSES,
        port=SCHEDULER_PORT,
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=proofs.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        token_sha256=hashlib.sha256(proofs.token.encode()).hexdigest(),
        wait_s=WAIT_S,
    )


def claim_of(job: Job, proofs: Proofs) -> Claim:
    """What the pod is told: who it is from now on."""
    launch: Any = launch_of(job)
    return Claim(token=proofs.token, launch=launch, variables=dict(job.variables))


async def give(host: str, proofs: Proofs, claim: Mapping[str, Any], port: int = SCHEDULER_PORT) -> None:
    """Tell the pod. Returns also where it was told and its answer was lost.

    raises  NotGiven
    """
    if not host:
        raise NotGiven("it has no address")
    told = False
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=_context())
            try:
                if _shown(writer) != proofs.public:
                    raise NotGiven("somebody else answers at the pod's address")
                writer.write(json.dumps(claim).encode() + b"\n")
                told = True
                await writer.drain()
                answer = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError) as error:
        if told:
            return
        raise NotGiven(str(error) or "no answer in time") from error
    if answer["error"]:
        raise NotGiven(str(answer["error"]))


def _context() -> ssl.SSLContext:
    """Trust comes from the key alone, which is looked at before anything is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shown(writer: asyncio.StreamWriter) -> bytes:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    key = x509.load_der_x509_certificate(certificate).public_key()
    return _bytes_of(key) if isinstance(key, ec.EllipticCurvePublicKey) else b""


def _bytes_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
