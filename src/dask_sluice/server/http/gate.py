"""Who is calling: by the `Authorization` header, else by the session cookie. The one place that asks."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...wire.errors import AuthenticationRequired
from ..identity.protocol import KnowsNotebooks, LoginForm, LogsInElsewhere, Shown
from ..identity.sessions import Session
from ..identity.shown import from_header
from ..identity.token import TokenAuthenticator
from ..model import Caller
from .services import caller_address, is_https, services


async def caller_of(connection: HTTPConnection) -> Caller:
    """The caller.

    raises  AuthenticationRequired, PermissionDenied, IdentityUnavailable, LimitExceeded after too many failures
    """
    header = connection.headers.get("authorization")
    if header is not None:
        return await _by_header(connection, header)
    caller = await by_session(connection)
    if caller is None:
        raise AuthenticationRequired("log in first", hint="Send a token or password, or open the page in a browser.")
    return caller


async def by_session(connection: HTTPConnection) -> Caller | None:
    """The caller whose session this browser or program holds.

    raises  PermissionDenied, IdentityUnavailable
    """
    session = _session(connection)
    if session is None or not session.proof:
        return None if session is None else _with_role(connection, Caller(session.user))
    shown = Shown("bearer", session.proof, address=caller_address(connection))
    caller = await services(connection).authenticator.authenticate(shown)
    return _with_role(connection, caller) if caller is not None and caller.name == session.user else None


def named_by_session(connection: HTTPConnection) -> Caller | None:
    """Whose session it claims to be, without asking anybody: for the head of a page."""
    session = _session(connection)
    return None if session is None else _with_role(connection, Caller(session.user))


def remember(request: Request, response: Response, caller: Caller, proof: str = "") -> None:
    """Give the caller a session cookie, so that the next request needs no credentials.

    proof   what they showed, where the authenticator is asked about it again
    """
    use = services(request)
    kept = proof if isinstance(use.authenticator, LogsInElsewhere) else ""
    set_cookie(
        request,
        response,
        use.sessions.cookie_name,
        use.sessions.create(caller.name, use.clock.now(), kept),
        use.sessions.session_s,
    )


def set_cookie(request: Request, response: Response, name: str, value: str, lasts_s: float) -> None:
    """A cookie for this server alone, which no script can read."""
    response.set_cookie(
        name,
        value,
        max_age=int(lasts_s),
        path=services(request).settings.listen.prefix or "/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )


def forget(request: Request, response: Response) -> None:
    """Take the session cookie back."""
    use = services(request)
    response.delete_cookie(use.sessions.cookie_name, path=use.settings.listen.prefix or "/", httponly=True)


def require_herald(request: Request) -> None:
    """Raise unless it comes from whoever may say that notebook servers have ended."""
    shown = from_header(request.headers.get("authorization", ""))
    authenticator = services(request).authenticator
    if shown is None or not isinstance(authenticator, KnowsNotebooks) or not authenticator.is_herald(shown):
        raise AuthenticationRequired("only the hub may say this", hint="It shows the token of its service.")


def require_proxy(request: Request) -> None:
    """Raise unless our own proxy is calling."""
    shown = from_header(request.headers.get("authorization", ""))
    token = request.headers.get("x-sluice-proxy") or (shown.secret if shown else "")
    if not hmac.compare_digest(token.encode(), services(request).proxy_token.encode()):
        raise AuthenticationRequired("only the proxy may ask this")


def _session(connection: HTTPConnection) -> Session | None:
    use = services(connection)
    cookie = connection.cookies.get(use.sessions.cookie_name, "")
    return use.sessions.read(cookie, use.clock.now()) if cookie else None


async def _by_header(connection: HTTPConnection, header: str) -> Caller:
    shown = from_header(header, caller_address(connection))
    caller = await services(connection).authenticator.authenticate(shown) if shown else None
    if caller is None:
        form = services(connection).authenticator.form
        what = "password" if form is LoginForm.PASSWORD else "token"
        if shown is None or not shown.secret:
            raise AuthenticationRequired(f"no {what} came along", hint=_HINTS[form])
        whose = f" of {shown.user}" if form is LoginForm.PASSWORD else ""
        raise AuthenticationRequired(f"this {what}{whose} is not accepted", hint=_HINTS[form])
    connection.state.proof = shown.secret if shown else ""
    return _with_role(connection, caller)


def _with_role(connection: HTTPConnection, caller: Caller) -> Caller:
    connection.state.user = caller.name  # for the log
    authenticator, settings = services(connection).authenticator, services(connection).settings.authenticator
    listed = (group for group, members in settings.groups.items() if caller.name in members)
    return replace(
        caller,
        # Who has the one token acts as the account that runs the server.
        is_admin=caller.is_admin or caller.name in settings.admins or isinstance(authenticator, TokenAuthenticator),
        groups=tuple(dict.fromkeys((*listed, *caller.groups))),
    )


async def _authenticated(request: Request) -> Caller:
    return await caller_of(request)


_HINTS = {
    LoginForm.TOKEN: "The address that `dask-sluice serve` prints holds the token.",
    LoginForm.PASSWORD: "Check the name and the password.",
    LoginForm.ELSEWHERE: "It may have expired or been revoked; a notebook server that is started anew has a fresh one.",
}
Authenticated = Annotated[Caller, Depends(_authenticated)]
Proxy = Depends(require_proxy)
