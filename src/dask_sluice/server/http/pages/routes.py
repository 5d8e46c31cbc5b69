"""The pages: my clusters, log in here or elsewhere, log out."""

from __future__ import annotations

import re
import secrets
from typing import Annotated
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from ....wire.errors import AuthenticationRequired, LimitExceeded
from ....wire.states import ClusterState
from ...identity.protocol import LoginForm, LogsInElsewhere, Shown
from ...model import Caller
from ..gate import by_session, forget, remember, set_cookie
from ..services import base_url, caller_address, services
from .render import page
from .words import rows

router = APIRouter(include_in_schema=False)

LOGIN_S = 600.0
"""How long a login on another site may take."""
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\s]*")


@router.get("/")
async def home(request: Request) -> Response:
    """My clusters."""
    if "token" in request.query_params:
        return await _enter_by_token(request)
    caller = await by_session(request)
    if caller is None:
        return _redirect(request, "/login")
    use = services(request)
    records = await use.control.clusters(caller, list(ClusterState))
    living, ended = rows(records, use.clock.now())
    last_event = await use.control.last_event(caller)
    address = base_url(request)
    return page(
        request,
        "home.html",
        caller=caller,
        living=living,
        ended=ended,
        last_event=last_event,
        address=address,
        form=str(use.authenticator.form),
        draining=await use.control.drain_sentence(),
    )


@router.get("/login")
async def login(
    request: Request, next: Annotated[str, Query(max_length=2000)] = "/", left: Annotated[bool, Query()] = False
) -> Response:
    """The form; whoever is logged in goes on at once, and where users log in elsewhere they are sent there.

    left    somebody has just logged out, who would be in again before they noticed
    """
    if "token" in request.query_params:
        return await _enter_by_token(request)
    if await by_session(request):
        return _go_on(request, next)
    authenticator = services(request).authenticator
    if isinstance(authenticator, LogsInElsewhere) and not left:
        return _send_away(request, authenticator, next)
    return _form(request, next)


@router.get("/oauth_callback")
async def oauth_callback(request: Request) -> Response:
    """Back from a login elsewhere. Only the browser that was sent there may bring the answer."""
    use, query = services(request), request.query_params
    authenticator = use.authenticator
    if not isinstance(authenticator, LogsInElsewhere):
        return _redirect(request, "/login")
    state = query.get("state", "")
    cookie = _login_cookie(state)
    match use.sessions.logins.open(request.cookies.get(cookie, "")):
        case [int(until), str(sent), str(verifier), str(goal)] if until > use.clock.now() and sent == state:
            pass
        case _:
            return _form(request, "/", error="This login was begun elsewhere, or took too long.", status=401)
    if "code" not in query:
        why = query.get("error_description") or query.get("error") or "no reason was given"
        return _form(request, goal, error=f"{authenticator.login_name} did not let you in: {why}", status=401)
    proof = await authenticator.proof(query["code"], verifier, use.settings.listen.prefix)
    caller = await authenticator.authenticate(Shown("bearer", proof, address=caller_address(request)))
    if caller is None:
        raise AuthenticationRequired(f"{authenticator.login_name} does not know the token that it has just given")
    response = _enter(request, caller, goal, proof)
    response.delete_cookie(cookie, path=use.settings.listen.prefix or "/", httponly=True)
    return response


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Check what was filled in. A form on somebody else's page does not get this far (`edge.py`)."""
    form = {key: values[-1] for key, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    goal, user = form.get("next", "/"), form.get("user", "").strip()
    secret = form.get("secret", "")
    shown = Shown("basic", secret, user, caller_address(request))
    try:
        caller = await services(request).authenticator.authenticate(shown)
    except LimitExceeded as error:
        return _form(request, goal, user, f"{error.message}. {error.hint}", 429)
    if caller is None:
        is_token = services(request).authenticator.form is LoginForm.TOKEN
        what = "This token is not right." if is_token else "This name and password do not fit together."
        return _form(request, goal, user, what, 401)
    return _enter(request, caller, goal)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Take the session back."""
    elsewhere = services(request).authenticator.form is LoginForm.ELSEWHERE
    response = _redirect(request, "/login?left=true" if elsewhere else "/login", 303)
    forget(request, response)
    return response


async def _enter_by_token(request: Request) -> Response:
    """`?token=` in the address: enter, and get it out of the address bar and the history."""
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "token"]
    token = request.query_params["token"]
    caller = await services(request).authenticator.authenticate(Shown("token", token, address=caller_address(request)))
    if caller is None:
        error = "The token in this address is not right; was the server started anew?"
        return _form(request, "/", error=error, status=401)
    path = services(request).settings.listen.prefix + request.url.path
    return _enter(request, caller, path + (f"?{urlencode(query)}" if query else ""), token)


def _enter(request: Request, caller: Caller, goal: str, proof: str = "") -> Response:
    response = _go_on(request, goal)
    remember(request, response, caller, proof)
    return response


def _send_away(request: Request, authenticator: LogsInElsewhere, goal: str) -> Response:
    """To the other site, with a cookie by which we know the browser when it is back."""
    use, state, verifier = services(request), secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    response = RedirectResponse(authenticator.login_url(state, verifier, use.settings.listen.prefix), 303)
    sealed = use.sessions.logins.close([int(use.clock.now() + LOGIN_S), state, verifier, goal])
    set_cookie(request, response, _login_cookie(state), sealed, LOGIN_S)
    return response


def _login_cookie(state: str) -> str:
    """One for each login that is under way: two tabs may log in at a time."""
    return f"sluice-login-{re.sub(r'[^A-Za-z0-9_-]', '', state)[:12]}"


def _go_on(request: Request, goal: str) -> Response:
    """To a path of this server, wherever else the link would have led."""
    prefix = services(request).settings.listen.prefix
    return RedirectResponse(goal if _OWN_PATH.fullmatch(goal) and goal != "/" else f"{prefix}/", 303)


def _redirect(request: Request, path: str, status: int = 302) -> RedirectResponse:
    return RedirectResponse(services(request).settings.listen.prefix + path, status)


def _form(request: Request, goal: str, user: str = "", error: str = "", status: int = 200) -> Response:
    authenticator = services(request).authenticator
    return page(
        request,
        "login.html",
        caller=None,
        status=status,
        form=str(authenticator.form),
        where=authenticator.login_name if isinstance(authenticator, LogsInElsewhere) else "",
        again=f"/login?{urlencode({'next': goal})}",
        next=goal,
        user=user,
        error=error,
    )
