"""Who is calling: by the `Authorization` header, else by the session cookie. The one place that asks."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...wire.errors import AuthenticationRequired
from ..identity.shown import from_header
from ..identity.token import TokenAuthenticator
from ..model import Caller
from .services import caller_address, is_https, services


async def caller_of(connection: HTTPConnection) -> Caller:
    """The caller.

    raises  AuthenticationRequired, LimitExceeded after too many failures
    """
    header = connection.headers.get("authorization")
    if header is not None:
        return await _by_header(connection, header)
    caller = by_cookie(connection)
    if caller is None:
        raise AuthenticationRequired("log in first", hint="Send a token or password, or open the page in a browser.")
    return caller


def by_cookie(connection: HTTPConnection) -> Caller | None:
    """The caller whose session this browser or program holds."""
    use = services(connection)
    cookie = connection.cookies.get(use.sessions.cookie_name, "")
    user = use.sessions.user(cookie, use.clock.now()) if cookie else None
    return None if user is None else _with_role(connection, Caller(user))


def remember(request: Request, response: Response, caller: Caller) -> None:
    """Give the caller a session cookie, so that the next request needs no credentials."""
    use = services(request)
    response.set_cookie(
        use.sessions.cookie_name,
        use.sessions.create(caller.name, use.clock.now()),
        max_age=int(use.sessions.session_s),
        path=use.settings.listen.prefix or "/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )


def forget(request: Request, response: Response) -> None:
    """Take the session cookie back."""
    use = services(request)
    response.delete_cookie(use.sessions.cookie_name, path=use.settings.listen.prefix or "/", httponly=True)


def require_proxy(request: Request) -> None:
    """Raise unless our own proxy is calling."""
    shown = from_header(request.headers.get("authorization", ""))
    token = request.headers.get("x-sluice-proxy") or (shown.secret if shown else "")
    if not hmac.compare_digest(token.encode(), services(request).proxy_token.encode()):
        raise AuthenticationRequired("only the proxy may ask this")


async def _by_header(connection: HTTPConnection, header: str) -> Caller:
    shown = from_header(header, caller_address(connection))
    caller = await services(connection).authenticator.authenticate(shown) if shown else None
    if caller is None:
        raise AuthenticationRequired(
            "this token or password is not accepted",
            hint="The address that `dask-sluice serve` prints holds the token.",
        )
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


Authenticated = Annotated[Caller, Depends(_authenticated)]
Proxy = Depends(require_proxy)
