"""Every error that crosses the wire, as one tree.

    SluiceError
    ├── AuthenticationRequired   401  no credentials, or wrong ones
    ├── PermissionDenied         403  known caller, not allowed to do this
    ├── ClusterNotFound          404  no such cluster, or not yours: the two look the same
    ├── RouteNotFound            404  no such path
    ├── MethodNotAllowed         405
    ├── RequestInvalid           422  malformed body, wrong type, negative count
    │   └── OptionInvalid        422  one cluster option: unknown, wrong type or out of range
    ├── RequestTooLarge          413
    ├── ClusterNotRunning        409  scale or adapt of a cluster that is not running (yet, or any more)
    ├── IdempotencyConflict      409  the same key with another request
    ├── EnvironmentInvalid       422  the Python environment is missing, unreadable or lacks distributed
    ├── Draining                 503  no new clusters here for now, by an administrator's will
    ├── NotSupported             501  this server's backend cannot do that
    ├── LimitExceeded            429  a limit, its value, its use
    ├── Overloaded               429  more requests than can be answered in time; when to come again
    ├── BackendUnavailable       503  the resource manager does not answer
    └── ServerError              500  our fault; the request id finds it in the log

The server turns one into a problem document (`to_problem`), the client turns the document back into
the same class (`from_problem`). `code` is stable; sentences may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional


class SluiceError(Exception):
    """The root. `message` is a sentence for a person, `hint` what to do, `details` for programs."""

    code = "error"
    status = 500
    title = "Error"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Optional[Mapping[str, Any]] = None,
        retry_after_s: Optional[float] = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def __str__(self) -> str:
        text = f"{self.message}\n{self.hint}" if self.hint else self.message
        return f"{text} (request {self.request_id})" if self.status >= 500 and self.request_id else text

    def to_problem(self) -> dict[str, Any]:
        """The body of an `application/problem+json` answer (RFC 9457, with our members added)."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "hint": self.hint,
            "details": self.details,
            "request_id": self.request_id,
        }


class AuthenticationRequired(SluiceError):
    """The caller did not prove who they are."""

    code, status, title = "authentication_required", 401, "Authentication required"


class IdentityUnavailable(SluiceError):
    """Whoever knows the users, such as a JupyterHub, does not answer: nobody can tell who may come in."""

    code, status, title = "identity_unavailable", 503, "Cannot tell who you are"


class PermissionDenied(SluiceError):
    """The caller is known and may not do this."""

    code, status, title = "permission_denied", 403, "Not allowed"


class ClusterNotFound(SluiceError, ValueError):
    """No such cluster, or somebody else's."""

    code, status, title = "cluster_not_found", 404, "No such cluster"


class RouteNotFound(SluiceError):
    """The server has nothing at this path."""

    code, status, title = "route_not_found", 404, "Not found"


class MethodNotAllowed(SluiceError):
    """The path exists; this method does not."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class RequestInvalid(SluiceError, ValueError):
    """The request is malformed: not JSON, a wrong type, a negative count."""

    code, status, title = "request_invalid", 422, "Invalid request"


class OptionInvalid(RequestInvalid):
    """One cluster option is unknown, of the wrong type or out of range; `option` names it."""

    code, title = "option_invalid", "Invalid cluster option"

    def __init__(self, option: str, message: str, **kwargs: Any) -> None:
        details = {"option": option, **(kwargs.pop("details", None) or {})}
        super().__init__(message, details=details, **kwargs)
        self.option = option


class EnvironmentInvalid(RequestInvalid):
    """The Python environment asked for cannot run a cluster; the sentence says why."""

    code, title = "environment_invalid", "Unusable environment"


class RequestTooLarge(SluiceError, ValueError):
    """The body is larger than any real request."""

    code, status, title = "request_too_large", 413, "Request too large"


class ClusterNotRunning(SluiceError):
    """The cluster cannot do this in its present state."""

    code, status, title = "cluster_not_running", 409, "Cluster is not running"


class IdempotencyConflict(SluiceError):
    """The idempotency key was used before, with another request."""

    code, status, title = "idempotency_conflict", 409, "Idempotency key already used"


class Draining(SluiceError):
    """The server takes no new clusters for now; asking again at once is of no use."""

    code, status, title = "draining", 503, "No new clusters"


class NotSupported(SluiceError):
    """The server's backend cannot do what was asked; another one could."""

    code, status, title = "not_supported", 501, "Not supported here"


class LimitExceeded(SluiceError):
    """A limit is reached; details carry its name, value and present use."""

    code, status, title = "limit_exceeded", 429, "Limit reached"


class Overloaded(SluiceError):
    """Nothing was done, for want of time; `retry_after_s` says when to ask again."""

    code, status, title = "overloaded", 429, "Too many requests"


class BackendUnavailable(SluiceError):
    """The resource manager does not answer."""

    code, status, title = "backend_unavailable", 503, "Backend unavailable"


class ServerError(SluiceError):
    """Something broke on our side."""

    code, status, title = "server_error", 500, "Server error"


CROSSING: tuple[type[SluiceError], ...] = (
    AuthenticationRequired,
    PermissionDenied,
    ClusterNotFound,
    RouteNotFound,
    MethodNotAllowed,
    RequestInvalid,
    OptionInvalid,
    EnvironmentInvalid,
    RequestTooLarge,
    ClusterNotRunning,
    IdempotencyConflict,
    NotSupported,
    LimitExceeded,
    Overloaded,
    BackendUnavailable,
    IdentityUnavailable,
    Draining,
    ServerError,
)
"""Those that a server sends. The first of a status stands for codes that this release does not know."""

_BY_CODE = {cls.code: cls for cls in CROSSING}
_BY_STATUS = {cls.status: cls for cls in reversed(CROSSING)}


def from_problem(problem: Mapping[str, Any], status: int) -> SluiceError:
    """The error that a problem document describes; an unknown code gives the class for its status."""
    cls = _BY_CODE.get(str(problem.get("code"))) or _BY_STATUS.get(status, ServerError)
    details = dict(problem.get("details") or {})
    fields: dict[str, Any] = {
        "hint": str(problem.get("hint") or ""),
        "details": details,
        "request_id": str(problem.get("request_id") or ""),
        "retry_after_s": problem.get("retry_after_s"),
    }
    message = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
    if cls is OptionInvalid:
        return OptionInvalid(str(details.get("option", "")), message, **fields)
    error = cls(message, **fields)
    error.code = str(problem.get("code") or cls.code)
    return error
