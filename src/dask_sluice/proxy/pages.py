"""What the proxy answers by itself: refusals and redirects, as a page for people, a problem for programs.

A page needs nothing from elsewhere, for it is shown exactly when elsewhere does not answer.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from http import HTTPStatus

from ..wire.names import PROBLEM_TYPE, REQUEST_ID_HEADER

Headers = list[tuple[bytes, bytes]]


_ELSEWHERE = (b"Connection", b"close")
"""Where several servers stand behind a load balancer, the next connection may lead to one that lives."""


class Refusal(Exception):
    """The proxy answers this itself. `message` says what was wrong, `hint` what to do."""

    def __init__(
        self, status: int, code: str, title: str, message: str, hint: str = "", headers: Headers | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.title, self.message, self.hint = status, code, title, message, hint
        self.headers = headers or []


class Redirect(Exception):
    """Go there instead. 307 keeps method and body, 303 makes it a GET."""

    def __init__(self, location: str, status: int = 307) -> None:
        super().__init__(location)
        self.location, self.status = location, status


@dataclass(frozen=True)
class Answer:
    """A whole answer, ready to be sent."""

    status: int
    headers: Headers
    body: bytes

    @property
    def reason(self) -> bytes:
        return HTTPStatus(self.status).phrase.encode()


def wants_page(accept: str) -> bool:
    """Whether a person looks at it: browsers name HTML, programs do not."""
    return "text/html" in accept.lower()


def refusal_answer(refusal: Refusal, *, accept: str, request_id: str) -> Answer:
    """A refusal in the form that the caller can read."""
    if wants_page(accept):
        kind, body = b"text/html; charset=utf-8", _page(refusal, request_id)
    else:
        kind, body = PROBLEM_TYPE.encode(), _problem(refusal, request_id)
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
        (REQUEST_ID_HEADER.encode(), request_id.encode()),
        *refusal.headers,
    ]
    if kind.startswith(b"text/html"):
        headers.append((b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"))
    return Answer(refusal.status, headers, body)


def redirect_answer(redirect: Redirect, request_id: str) -> Answer:
    """A redirect; its address may hold a ticket, so it is neither stored nor passed on."""
    location = redirect.location.encode("ascii", "replace")
    headers = [
        (b"Location", location),
        (b"Content-Length", b"0"),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (REQUEST_ID_HEADER.encode(), request_id.encode()),
    ]
    return Answer(redirect.status, headers, b"")


def health_answer(*, ready: bool) -> Answer:
    """How the proxy is, for probes. It stays ready while all servers are away: running clusters do not need them."""
    reason = "" if ready else "no server has told its routes yet"
    body = json.dumps({"status": "ready" if ready else "not ready", "reason": reason}).encode()
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
    ]
    return Answer(200 if ready else 503, headers, body)


def _problem(refusal: Refusal, request_id: str) -> bytes:
    return json.dumps(
        {
            "type": "about:blank",
            "title": refusal.title,
            "status": refusal.status,
            "detail": refusal.message,
            "code": refusal.code,
            "hint": refusal.hint,
            "details": {},
            "request_id": request_id,
        }
    ).encode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 1.05rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 12vh auto; padding: 0 1.2rem;
  color: #1c2733; background: #fbfbf9 }}
h1 {{ font-size: 1.5rem }} small {{ color: #66717d }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e4e8ec; background: #14181c }} small {{ color: #98a2ac }} }}
</style></head>
<body><h1>{title}</h1><p>{message}</p><p>{hint}</p><p><small>{status} · request {request_id}</small></p></body></html>
"""


def _page(refusal: Refusal, request_id: str) -> bytes:
    texts = {name: html.escape(getattr(refusal, name)) for name in ("title", "message", "hint")}
    return _PAGE.format(**texts, status=refusal.status, request_id=html.escape(request_id)).encode()


def server_away() -> Refusal:
    """503: the server cannot be reached."""
    return Refusal(
        503,
        "server_unavailable",
        "The server is restarting",
        "The dask-sluice server does not answer just now; clusters that are running go on computing.",
        "Try again in a few seconds. If it stays away, whoever runs it has to start it; its log says why it ended.",
        [(b"Retry-After", b"2"), _ELSEWHERE],
    )


def server_broke_off() -> Refusal:
    """502: the server took the request and did not answer."""
    return Refusal(
        502,
        "server_broke_off",
        "The server broke off",
        "The dask-sluice server ended the connection before it answered.",
        "Try again; if it happens again, give the administrator the request number below.",
        [_ELSEWHERE],
    )


def no_request(status: int, why: str) -> Refusal:
    """431 or 400: what came is not HTTP as it should be."""
    if status == 431:
        title, hint = "Request head too large", "Send fewer or smaller header fields."
    else:
        title, hint = "Bad request", "Speak HTTP/1.1, or TLS to a cluster."
    return Refusal(
        status if status in (431, 501) else 400, "request_invalid", title, f"This is no request: {why}.", hint
    )


def not_found(path: str, prefix: str) -> Refusal:
    """404: no such path."""
    hint = f"Everything here is under {prefix}/." if prefix else "Check the address."
    return Refusal(404, "route_not_found", "Not found", f"There is nothing at {path}.", hint)


def unknown_cluster(name: str) -> Refusal:
    """404: no such cluster, or somebody else's: the two look the same."""
    return Refusal(
        404,
        "cluster_not_found",
        "No such cluster",
        f"There is no cluster {name} that you may see; it may have ended.",
        "Ask for the list of your clusters, or start a new one.",
    )


def cluster_starting(name: str, state: str) -> Refusal:
    """503: known, and no scheduler yet."""
    return Refusal(
        503,
        "cluster_not_running",
        "The cluster is not ready",
        f"Cluster {name} is {state or 'starting'}: its scheduler does not listen yet.",
        "Reload this page in a few seconds.",
        [(b"Retry-After", b"2")],
    )


def scheduler_away(name: str) -> Refusal:
    """502: the scheduler cannot be reached."""
    return Refusal(
        502,
        "scheduler_unreachable",
        "The scheduler does not answer",
        f"The scheduler of cluster {name} cannot be reached, or broke off.",
        "If the cluster was just stopped this is what to expect; otherwise its log says more.",
    )


def login_needed() -> Refusal:
    """401: no credentials, or wrong ones."""
    return Refusal(
        401,
        "authentication_required",
        "Authentication required",
        "This needs a login or a token.",
        "Send a token as 'Authorization: Bearer TOKEN', or open the address in a browser.",
        [(b"WWW-Authenticate", b'Bearer realm="dask-sluice"')],
    )


def foreign_origin() -> Refusal:
    """403: another site used the viewer's cookie."""
    return Refusal(
        403,
        "permission_denied",
        "Not allowed",
        "A page from elsewhere may not open this with your login.",
        "Open the dashboard from the list of clusters, or send a token.",
    )
