"""Failures as a page: what was wrong and what to do, in the same words as everywhere."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from ....wire.errors import SluiceError
from ..gate import named_by_session
from .render import page


def error_page(request: Request, error: SluiceError) -> Response:
    """The page for this failure. Where something broke, nothing more is asked than it takes to say so."""
    caller = None if error.status >= 500 else named_by_session(request)
    return page(request, "error.html", caller=caller, status=error.status, error=error)
