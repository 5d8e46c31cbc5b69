"""A process's own TLS identity, as distributed wants it: made of PEM texts, strict about certificates."""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import lru_cache
from typing import Any

from distributed.security import Security

from ..wire.launch import TLSFiles


class StrictSecurity(Security):
    """Security that checks certificates as strictly on every Python, and makes each context once.

    Old and new Pythons then accept the same certificates: one that only some refuse is found at once.
    """

    def _get_tls_context(self, tls: dict[str, Any], purpose: ssl.Purpose) -> ssl.SSLContext:
        return _context(purpose, tls["ca_file"], tls["cert"], tls["key"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.tls_ca_file, self.tls_worker_cert, self.tls_worker_key)


def security(tls: TLSFiles) -> StrictSecurity:
    """The identity in every role that this process may take: a worker is also a client of its scheduler.

    Its contexts are made here and now. A worker process forked later has them, and its Nanny sends it the texts
    by which it finds them.
    """
    identity = _again(tls["ca_certificate"], tls["certificate"], tls["key"])
    identity.get_connection_args("worker")
    identity.get_listen_args("worker")
    return identity


def _again(ca_certificate: str, certificate: str, key: str) -> StrictSecurity:
    roles = ("scheduler", "worker", "client")
    identity = {f"tls_{role}_{part}": text for role in roles for part, text in (("cert", certificate), ("key", key))}
    return StrictSecurity(tls_ca_file=ca_certificate, require_encryption=True, **identity)


@lru_cache(maxsize=8)
def _context(purpose: ssl.Purpose, ca_certificate: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cadata=ca_certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # The cluster has an authority of its own and its members are known by address: the signature is what counts.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # OpenSSL reads an identity from files only; this one exists for that moment.
    with tempfile.TemporaryDirectory(prefix="sluice-") as directory:
        path = os.path.join(directory, "identity.pem")
        with open(path, "w") as file:
            file.write(key + certificate)
        context.load_cert_chain(path)
    return context
