"""A process's own TLS identity, as distributed wants it: made of PEM texts, strict about certificates.

The texts come in the launch document and stay in memory; distributed itself writes them to a private
directory for the moment in which OpenSSL reads them.
"""

from __future__ import annotations

import ssl
from typing import Any

from distributed.security import Security

from ..wire.launch import TLSFiles

_STRICT = ssl.VERIFY_X509_STRICT


class StrictSecurity(Security):
    """Security that checks certificates as Python 3.13 does everywhere, and makes each context once.

    Old and new Pythons then accept the same certificates: one that only some refuse is found at once.
    """

    def _get_tls_context(self, tls: dict[str, Any], purpose: ssl.Purpose) -> Any:
        contexts = self.__dict__.setdefault("contexts", {})
        made_of = (purpose, *tls.values())
        if made_of not in contexts:
            contexts[made_of] = super()._get_tls_context(tls, purpose)
            contexts[made_of].verify_flags |= _STRICT
        return contexts[made_of]

    def __reduce__(self) -> tuple[Any, ...]:
        # A Nanny sends it to its worker process; a context cannot travel.
        return _again, (self.tls_ca_file, self.tls_worker_cert, self.tls_worker_key)


def security(tls: TLSFiles) -> StrictSecurity:
    """The identity in every role that this process may take: a worker is also a client of its scheduler."""
    return _again(tls["ca_certificate"], tls["certificate"], tls["key"])


def _again(ca_certificate: str, certificate: str, key: str) -> StrictSecurity:
    roles = ("scheduler", "worker", "client")
    identity = {f"tls_{role}_{part}": text for role in roles for part, text in (("cert", certificate), ("key", key))}
    return StrictSecurity(tls_ca_file=ca_certificate, require_encryption=True, **identity)
