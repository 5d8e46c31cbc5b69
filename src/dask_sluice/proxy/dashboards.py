"""Rules for showing a dashboard: somebody else's web page, on our address. Pure.

A dashboard is served by a process that runs its owner's code, so it is treated as hostile to its viewer:
it never sees the viewer's login, and by `Content-Security-Policy: sandbox` its pages get an opaque
origin, from which neither our cookies nor our API can be used. A page without an origin sends no cookies
of its own either, so a ticket in its path stands in for them: `/clusters/<name>/~<ticket>/status`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import urlsplit

from .pages import Headers

SANDBOX = b"sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-forms allow-downloads allow-modals"

_NOT_TO_DASHBOARD = frozenset({b"cookie", b"authorization", b"origin", b"referer", b"host"})
# What a page could use against its viewer or against other pages of our address: cookies of ours, a login
# prompt that looks like ours, rules for the whole host.
_NOT_FROM_DASHBOARD = frozenset(
    {
        b"set-cookie",
        b"set-cookie2",
        b"clear-site-data",
        b"www-authenticate",
        b"strict-transport-security",
        b"public-key-pins",
        b"service-worker-allowed",
        b"alt-svc",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
        b"refresh",
        b"referrer-policy",
        b"x-content-type-options",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
    }
)


def ticket_for(key: bytes, *, cluster: str, user: str, expires: int) -> str:
    """A ticket as the server makes it (docs/develop/seams.md); the proxy itself needs it in tests only."""
    encoded_user = base64.urlsafe_b64encode(user.encode()).rstrip(b"=").decode()
    return f"{expires}.{encoded_user}.{_signature(key, cluster, user, expires)}"


def ticket_is_valid(ticket: str, key: bytes, *, cluster: str, now: float) -> bool:
    """Whether the server signed it for this cluster and it has not expired."""
    try:
        expires_text, encoded_user, signature = ticket.split(".")
        expires = int(expires_text)
        padding = "=" * (-len(encoded_user) % 4)
        user = base64.b64decode((encoded_user + padding).encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):  # UnicodeError is a ValueError
        return False
    if not key or expires_text != str(expires) or expires <= now:
        return False
    wanted = _signature(key, cluster, user, expires)
    return hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "surrogateescape"))


def _signature(key: bytes, cluster: str, user: str, expires: int) -> str:
    return hmac.new(key, f"{cluster}|{user}|{expires}".encode(), hashlib.sha256).hexdigest()[:32]


def request_headers(headers: Headers, upstream: str) -> Headers:
    """Headers as the dashboard gets them: no credentials, and `Host` and `Origin` its own.

    Bokeh and the scheduler's event stream refuse a WebSocket whose origin is not their host. Whether the
    viewer may open it was decided before, by ticket or login.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in _NOT_TO_DASHBOARD]
    if any(name.lower() == b"origin" for name, _ in headers):
        kept.append((b"Origin", b"http://" + upstream.encode()))
    return [(b"Host", upstream.encode()), *kept]


def answer_headers(headers: Headers, *, base: str, upstream: str, ticketed: bool) -> Headers:
    """Headers as the viewer gets them: caged, and redirects kept under `base`, the dashboard's path with us."""
    kept = []
    for name, value in headers:
        if name.lower() in _NOT_FROM_DASHBOARD:
            continue
        if name.lower() == b"location":
            value = relocated(value.decode("latin-1"), base=base, upstream=upstream).encode("latin-1")
        kept.append((name, value))
    kept += [
        (b"Content-Security-Policy", SANDBOX),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if ticketed:
        # Pages without an origin need leave to load their own fonts and data. No cookie opens this path,
        # so no other site gains anything by asking.
        kept.append((b"Access-Control-Allow-Origin", b"*"))
    return kept


def relocated(location: str, *, base: str, upstream: str) -> str:
    """A redirect of the dashboard's, moved under our path for it; links to elsewhere stay."""
    parts = urlsplit(location)
    if parts.netloc:
        if parts.netloc != upstream:
            return location
        location = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return base + location if location.startswith("/") else location


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of ours asks, by the `Origin` that its browser sent."""
    return urlsplit(origin).netloc.lower() == host.lower()
