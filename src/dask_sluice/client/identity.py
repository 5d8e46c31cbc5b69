"""A client's TLS identity for one cluster, kept in memory and renewed before it expires."""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.security import Security

from ..wire.api import Credentials

RENEW_BEFORE_S = 600.0


class Identity:
    """Credentials in an SSL context. Renewal loads the new ones into the same context."""

    def __init__(self, credentials: Credentials, fetch: Callable[[], Awaitable[Credentials]]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The name in the hello is a route, not a host: the cluster's own CA proves whom we talk to.
        self.context.check_hostname = False
        self.context.load_verify_locations(cadata=credentials.ca_certificate)
        self._fetch = fetch
        self._load(credentials)

    async def refresh(self) -> None:
        """Fetch and load new credentials if the present ones are about to expire."""
        if time.time() > self._expires_at - RENEW_BEFORE_S:
            self._load(await self._fetch())

    def _load(self, credentials: Credentials) -> None:
        # ssl reads keys from files only: one that nobody else can read, gone at once.
        fd, path = tempfile.mkstemp()
        try:
            with os.fdopen(fd, "w") as file:
                file.write(credentials.certificate + credentials.key)
            self.context.load_cert_chain(path)
        finally:
            os.unlink(path)
        self._expires_at = credentials.expires_at


class SluiceSecurity(Security):
    """What distributed's connections to one cluster are made with: its identity and the way to it."""

    def __init__(self, route: Any, context: ssl.SSLContext) -> None:
        super().__init__(require_encryption=True)
        # Security refuses attributes that it does not know; distributed itself sets its own this way.
        object.__setattr__(self, "route", route)
        object.__setattr__(self, "_context", context)

    def get_connection_args(self, role: str) -> dict[str, Any]:
        return {"ssl_context": self._context, "require_encryption": True, "route": self.route}

    def __repr__(self) -> str:
        return "SluiceSecurity<TLS, identity of this client>"

    def _repr_html_(self) -> str:
        return repr(self).replace("<", "&lt;")
