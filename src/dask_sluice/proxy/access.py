"""Whether a caller may see a cluster's dashboard or open its tunnel. The server decides; we remember.

Only "yes" is remembered, and for a short time: a login that is taken away counts soon, and a cluster that
has just been made is not unknown for half a minute.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from time import monotonic
from urllib.parse import quote

from . import pages
from .pages import Headers
from .upstream import ServerConnections, UpstreamGone

_REMEMBER_S = 30.0
_MOST_REMEMBERED = 2000


@dataclass(frozen=True)
class Access:
    """Allowed, for this user; the ticket stands for it in paths."""

    user: str
    ticket: str


class AccessCheck:
    """Asks the server, at most every half minute for the same caller and cluster."""

    def __init__(self, server: ServerConnections) -> None:
        self._server = server
        self._known: dict[bytes, tuple[float, Access]] = {}

    async def check(self, cluster: str, headers: Headers) -> Access:
        """The caller's access, by the Cookie and Authorization among the request's headers.

        raises  pages.Refusal: 401, 404 (unknown or not theirs), 503 while the server is away
        """
        credentials = [(name, value) for name, value in headers if name.lower() in (b"cookie", b"authorization")]
        key = _key(cluster, credentials)
        known = self._known.get(key)
        if known is not None and monotonic() - known[0] < _REMEMBER_S:
            return known[1]
        access = await self._ask(cluster, credentials)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = (monotonic(), access)
        return access

    async def _ask(self, cluster: str, credentials: Headers) -> Access:
        target = f"/api/v2/access/{quote(cluster, safe='')}"
        try:
            status, body = await self._server.ask(target, [*credentials, *self._server.own_headers()])
        except UpstreamGone as error:
            raise pages.server_away() from error
        if status == 401:
            raise pages.login_needed()
        if status in (403, 404):
            raise pages.unknown_cluster(cluster)
        try:
            answer = json.loads(body)
            return Access(user=answer["user"], ticket=answer["ticket"])
        except (ValueError, KeyError, TypeError) as error:
            raise pages.server_broke_off() from error


def _key(cluster: str, credentials: Headers) -> bytes:
    digest = hashlib.sha256(cluster.encode())
    for name, value in credentials:
        digest.update(b"\0%d:%b%d:%b" % (len(name), name.lower(), len(value), value))
    return digest.digest()
