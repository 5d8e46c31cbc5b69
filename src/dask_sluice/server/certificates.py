"""Certificates: a small authority for each cluster, and what it signs.

Scheduler, workers and clients have separate identities, told apart by extended key usage: a client's
certificate cannot serve as a scheduler's or a worker's. Elliptic curve keys (P-256) take well under a
millisecond to make. All certificates pass OpenSSL's strict checks, which Python 3.13 turns on.

Lives: an authority and its scheduler's and workers' certificates 30 days, the longest that a cluster
may run; a client's 24 hours, since it can ask for another at any time. TLS looks at a certificate when
a connection is made: one that stands goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..wire.names import server_name

CLUSTER_LIFE_S = 30 * 86400.0
CLIENT_LIFE_S = 86400.0
_CLOCKS_DIFFER_S = 300.0
"""Certificates are valid from a little before now: machines' clocks differ."""


class Role(Enum):
    """Who a certificate speaks for, and what it may be used as."""

    SCHEDULER = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    WORKER = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)

    @property
    def life_s(self) -> float:
        return CLIENT_LIFE_S if self is Role.CLIENT else CLUSTER_LIFE_S


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, PEM."""

    certificate: str
    key: str
    expires_at: float


def new_authority(cluster: str, now: float) -> Identity:
    """The authority of a new cluster. Its key never leaves the server."""
    key = generate_private_key(SECP256R1())
    name = _name(f"{cluster} authority", cluster)
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # An issuer whose certificate ends before what it signed is refused: give it the longest life.
    builder = _builder(name, name, key, now, CLUSTER_LIFE_S + 2 * CLIENT_LIFE_S)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(subject_key, critical=False)
        .sign(key, SHA256())
    )
    return _identity(certificate, key)


def issue(authority_certificate: str, authority_key: str, role: Role, cluster: str, name: str, now: float) -> Identity:
    """An identity of this role in the cluster, signed by its authority. `name` is for people who read it."""
    issuer = x509.load_pem_x509_certificate(authority_certificate.encode())
    issuer_key = load_pem_private_key(authority_key.encode(), None)
    if not isinstance(issuer_key, EllipticCurvePrivateKey):
        raise TypeError("a cluster's authority has an elliptic curve key")
    key = generate_private_key(SECP256R1())
    names = [x509.DNSName(server_name(cluster)), x509.DNSName(name)] if role is not Role.CLIENT else []
    authority_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name(name, cluster), issuer.subject, key, now, role.life_s)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(role.value), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _identity(builder.sign(issuer_key, SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: float, life_s: float
) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(int(now - _CLOCKS_DIFFER_S), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(seconds=_CLOCKS_DIFFER_S + life_s))
    )


def _name(common_name: str, cluster: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> Identity:
    return Identity(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        expires_at=certificate.not_valid_after_utc.timestamp(),
    )
