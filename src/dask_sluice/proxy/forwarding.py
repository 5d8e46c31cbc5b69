"""Carries one HTTP exchange from a client to an upstream and back, as a stream in both directions.

Nothing is kept: a body goes on as it comes, as fast as the other side takes it, with no limit on the time
it takes (long polls and event streams live for hours). h11 reads and writes both sides, so whatever a
client sends is framed anew: there is no second opinion about where a request ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import h11

from .pages import Headers
from .upstream import UpstreamGone, Wire

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
_FRAMING = frozenset({b"transfer-encoding", b"content-length"})
# Only the proxy may say these: the server believes them.
_OURS_TO_SAY = frozenset({b"forwarded", b"x-sluice-proxy", b"x-request-id", b"x-real-ip"})


class ClientGone(Exception):
    """The client broke off, or spoke no HTTP; there is nobody to answer."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as it is told to the server."""

    address: str
    scheme: str
    host: str
    prefix: str

    def forwarded(self) -> Headers:
        headers = [
            (b"X-Forwarded-For", self.address.encode()),
            (b"X-Forwarded-Proto", self.scheme.encode()),
            (b"X-Forwarded-Host", self.host.encode("latin-1")),
        ]
        if self.prefix:
            headers.append((b"X-Forwarded-Prefix", self.prefix.encode()))
        return headers


def header(headers: Headers, name: bytes) -> str:
    """The value of a header, several joined as HTTP does it, empty where absent. `name` in lower case."""
    return ", ".join(value.decode("latin-1") for key, value in headers if key.lower() == name)


def wants_upgrade(headers: Headers) -> bool:
    """Whether the client asks to go on with a WebSocket."""
    tokens = {token.strip().lower() for token in header(headers, b"connection").split(",")}
    return "upgrade" in tokens and header(headers, b"upgrade").strip().lower() == "websocket"


def end_to_end(headers: Headers) -> Headers:
    """Headers without those that concern one connection only. RFC 9110, section 7.6.1."""
    named = {token.strip().lower().encode("latin-1") for token in header(headers, b"connection").split(",")}
    # `Connection: host` or `content-length` must not talk us out of what we need.
    dropped = _HOP_BY_HOP | (named - _FRAMING - {b"host"})
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    if any(name.lower() == b"transfer-encoding" for name, _ in kept):
        kept = [(name, value) for name, value in kept if name.lower() != b"content-length"]
    return kept


def request_headers(headers: Headers, caller: Caller, request_id: str) -> Headers:
    """A request's headers as they go on: end to end, and with what only the proxy knows."""
    upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")] if wants_upgrade(headers) else []
    kept = [
        (name, value)
        for name, value in end_to_end(headers)
        if name.lower() not in _OURS_TO_SAY and not name.lower().startswith(b"x-forwarded-")
    ]
    return [*kept, *upgrade, *caller.forwarded(), (b"X-Request-ID", request_id.encode())]


def has_body(request: h11.Request) -> bool:
    """Whether more than the head is to come."""
    headers = list(request.headers)
    return bool(header(headers, b"transfer-encoding")) or header(headers, b"content-length") not in ("", "0")


async def exchange(client: Wire, upstream: Wire, request: h11.Request, rewrite: Callable[[Headers], Headers]) -> None:
    """Send the request on and its answer back; `rewrite` has a last look at the answer's headers.

    raises  UpstreamGone  before anything was answered, so that the caller can answer by itself
            ClientGone    where nobody is left to answer, or the answer broke off in the middle
    """
    try:
        await upstream.send(request)
    except OSError as error:
        raise UpstreamGone(str(error)) from error
    if not has_body(request):
        await upstream.send(h11.EndOfMessage())  # nothing to write
        await _copy_answer(client, upstream, rewrite)
        return
    upload = asyncio.create_task(_copy_body(client, upstream), name="upload")
    answer = asyncio.create_task(_copy_answer(client, upstream, rewrite), name="answer")
    try:
        await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_COMPLETED)
        if upload.done():
            upload.result()  # raises where the client broke off
        await answer
    finally:
        for task in (upload, answer):
            task.cancel()
        await asyncio.gather(upload, answer, return_exceptions=True)


async def _copy_body(client: Wire, upstream: Wire) -> None:
    """The request's body. An upstream that takes no more may still answer, so that ends it quietly."""
    while True:
        try:
            event = await client.next_event()
        except (OSError, h11.RemoteProtocolError) as error:
            raise ClientGone(str(error)) from error
        if not isinstance(event, h11.Data | h11.EndOfMessage):
            return
        try:
            await upstream.send(h11.Data(data=event.data) if isinstance(event, h11.Data) else h11.EndOfMessage())
        except (OSError, h11.LocalProtocolError):
            return
        if isinstance(event, h11.EndOfMessage):
            return


async def _copy_answer(client: Wire, upstream: Wire, rewrite: Callable[[Headers], Headers]) -> None:
    begun = False
    while True:
        try:
            event = await upstream.next_event()
        except (OSError, h11.RemoteProtocolError) as error:
            if begun:
                raise ClientGone(f"the answer broke off: {error}") from error
            raise UpstreamGone(str(error)) from error
        if isinstance(event, h11.ConnectionClosed):
            raise UpstreamGone("closed before an answer")
        try:
            begun = await _pass_on(client, event, rewrite) or begun
        except OSError as error:
            raise ClientGone(str(error)) from error
        if isinstance(event, h11.EndOfMessage) or getattr(event, "status_code", 0) == 101:
            return


async def _pass_on(client: Wire, event: object, rewrite: Callable[[Headers], Headers]) -> bool:
    """Whether the answer has begun with this."""
    if isinstance(event, h11.InformationalResponse):
        headers = list(event.headers)
        kept = rewrite(end_to_end(headers))
        if event.status_code == 101:
            kept += [(b"Connection", b"Upgrade"), (b"Upgrade", header(headers, b"upgrade").encode("latin-1"))]
        await client.send(h11.InformationalResponse(status_code=event.status_code, headers=kept, reason=event.reason))
        return event.status_code == 101
    if isinstance(event, h11.Response):
        headers = [(n, v) for n, v in end_to_end(list(event.headers)) if n.lower() != b"transfer-encoding"]
        await client.send(h11.Response(status_code=event.status_code, headers=rewrite(headers), reason=event.reason))
        return True
    if isinstance(event, h11.Data):
        await client.send(h11.Data(data=event.data))
    elif isinstance(event, h11.EndOfMessage):
        await client.send(h11.EndOfMessage())
    return True
