"""The pages: my clusters, log in, log out."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from ....wire.errors import LimitExceeded
from ....wire.states import ClusterState
from ...identity.protocol import LoginForm, Shown
from ...model import Caller
from ..gate import by_cookie, forget, remember
from ..services import base_url, caller_address, services
from .render import page
from .words import rows

router = APIRouter(include_in_schema=False)

_OWN_PATH = re.compile(r"/(?![/\\])[^\\\s]*")


@router.get("/")
async def home(request: Request) -> Response:
    """My clusters."""
    if "token" in request.query_params:
        return await _enter_by_token(request)
    caller = by_cookie(request)
    if caller is None:
        return _redirect(request, "/login")
    use = services(request)
    records = await use.control.clusters(caller, list(ClusterState))
    living, ended = rows(records, use.clock.now())
    last_event = await use.control.last_event(caller)
    address = base_url(request)
    uses_token = use.authenticator.form is LoginForm.TOKEN
    return page(
        request,
        "home.html",
        caller=caller,
        living=living,
        ended=ended,
        last_event=last_event,
        address=address,
        uses_token=uses_token,
        draining=await use.control.drain_sentence(),
    )


@router.get("/login")
async def login(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """The form; whoever is logged in goes on at once."""
    if "token" in request.query_params:
        return await _enter_by_token(request)
    return _go_on(request, next) if by_cookie(request) else _form(request, next)


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
    response = _redirect(request, "/login", 303)
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
    return _enter(request, caller, path + (f"?{urlencode(query)}" if query else ""))


def _enter(request: Request, caller: Caller, goal: str) -> Response:
    response = _go_on(request, goal)
    remember(request, response, caller)
    return response


def _go_on(request: Request, goal: str) -> Response:
    """To a path of this server, wherever else the link would have led."""
    prefix = services(request).settings.listen.prefix
    return RedirectResponse(goal if _OWN_PATH.fullmatch(goal) and goal != "/" else f"{prefix}/", 303)


def _redirect(request: Request, path: str, status: int = 302) -> RedirectResponse:
    return RedirectResponse(services(request).settings.listen.prefix + path, status)


def _form(request: Request, goal: str, user: str = "", error: str = "", status: int = 200) -> Response:
    form = services(request).authenticator.form
    return page(request, "login.html", caller=None, status=status, form=str(form), next=goal, user=user, error=error)
