"""What it means that the API server does not create an object: never, or not yet, and why. Pure."""

from __future__ import annotations

from ....wire.reasons import Reason, ReasonCode
from ..protocol import Refused, Unavailable
from .api import ApiError


def refusal(error: ApiError, what: str) -> Refused | Unavailable:
    """The error that the backend raises.

    what   for whom it was: `the scheduler`, or a worker's name
    """
    message = _cause(error.message)
    if error.status == 403:
        if "exceeded quota" in message:
            return Unavailable(message, Reason(ReasonCode.QUOTA_EXCEEDED, {"what": what, "message": message}))
        if "violates PodSecurity" in message:
            return Refused(message, Reason(ReasonCode.POD_SECURITY_REFUSED, {"what": what, "message": message}))
        if "cannot create resource" in message:
            return Unavailable(f"this server has not the rights that it needs (its Role): {message}")
    if error.status == 404 and message.startswith("namespaces "):
        return Refused(f"{message.replace('namespaces', 'the namespace', 1)}: an administrator has to make it first")
    if error.status == 409:  # a quota was changed at the same moment
        return Unavailable(message)
    return Refused(message)


def is_worth_another_try(error: ApiError) -> bool:
    """Whether only another request was in the way."""
    return error.status == 409 and error.reason == "Conflict"


def already_there(error: ApiError) -> bool:
    """Whether an object of this name exists: ours, since the name is."""
    return error.status == 409 and error.reason == "AlreadyExists"


def _cause(message: str) -> str:
    """Without `pods "x" is forbidden: ` in front, which says nothing."""
    head, forbidden, cause = message.partition(" is forbidden: ")
    return cause if forbidden and head.startswith(("pods ", "secrets ", "configmaps ", "networkpolicies.")) else message
