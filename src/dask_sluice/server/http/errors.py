"""Every failure, in the shape of the part of the site it happened in.

    /api/v1/...          {"error": sentence}             dask-gateway's clients show it
    /api/...             application/problem+json        `wire/errors.py`
    everything else      a page for people, or problem+json for programs

What went wrong inside is for the log only; the request id leads there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ...wire.errors import (
    AuthenticationRequired,
    LimitExceeded,
    MethodNotAllowed,
    PermissionDenied,
    RequestInvalid,
    RequestTooLarge,
    RouteNotFound,
    ServerError,
    SluiceError,
)
from ...wire.names import PROBLEM_TYPE
from .pages.errors import error_page
from .pages.render import wants_page
from .services import services
from .v1.errors import error_answer


def install(app: FastAPI) -> None:
    """Let the app answer with these shapes."""
    app.add_exception_handler(SluiceError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_framework)


def answer(request: Request, error: SluiceError) -> Response:
    """The error in the shape that belongs to the request's path."""
    error.request_id = error.request_id or request_id(request)
    if isinstance(error, LimitExceeded):
        services(request).metrics.refused(str(error.details.get("limit", "")))
    path = request.url.path
    if path.startswith("/api/v1/") or path in ("/api/health", "/api/version"):
        return error_answer(error, services(request).authenticator.challenge)
    if not path.startswith("/api/") and wants_page(request):
        return error_page(request, error)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, AuthenticationRequired):
        # Not `Basic`: a browser would ask for a name and password by itself, over our page.
        headers["WWW-Authenticate"] = 'Bearer realm="dask-sluice"'
    problem = error.to_problem()
    if error.retry_after_s is not None:
        problem["retry_after_s"] = error.retry_after_s
    return JSONResponse(problem, error.status, headers, media_type=PROBLEM_TYPE)


def request_id(request: Request) -> str:
    """The id under which the log knows this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, SluiceError)
    return answer(request, error)


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request, invalid(error.errors()))


async def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer(request, _translated(request, error))
    if allow := (error.headers or {}).get("Allow"):
        response.headers["Allow"] = allow
    return response


def invalid(problems: Sequence[Any]) -> RequestInvalid:
    """A `RequestInvalid` out of what pydantic found: which field, where, and what is accepted."""
    found = [_problem(problem) for problem in problems]
    details = {"problems": [{"where": where, "field": field, "problem": what} for where, field, what in found]}
    where, field, _ = found[0]
    sentence = "; ".join(f"{field}: {what}" if field else what for _, field, what in found)
    return RequestInvalid(f"{where}: {sentence}", details={"where": where, "field": field, **details})


def _problem(problem: Any) -> tuple[str, str, str]:
    where, *path = problem["loc"]
    if problem["type"] == "json_invalid":
        reason = problem.get("ctx", {}).get("error", "")
        return "body", "", f"not JSON at character {path[0] if path else 0}: {reason}"
    field = ".".join(map(str, path))
    if what := _WORDS.get(problem["type"]):
        return str(where), field, what
    message = str(problem["msg"]).removeprefix("Value error, ")
    return str(where), field, message.replace("Input should be", "must be", 1)


_WORDS = {
    "extra_forbidden": "unknown field",
    "missing": "is missing",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _translated(request: Request, error: HTTPException) -> SluiceError:
    path, method = request.url.path, request.method
    match error.status_code:
        case 404:
            return RouteNotFound(f"there is nothing at {path}", details={"path": path})
        case 405:
            return MethodNotAllowed(f"{path} does not take {method}", details={"path": path, "method": method})
        case 413:
            return RequestTooLarge(str(error.detail))
        case 401:
            return AuthenticationRequired(str(error.detail))
        case 403:
            return PermissionDenied(str(error.detail))
        case status if status < 500:
            return RequestInvalid(str(error.detail))
        case _:
            return ServerError("the server could not answer this request")
