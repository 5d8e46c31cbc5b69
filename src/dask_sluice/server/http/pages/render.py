"""Templates, and what they all need."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...model import Caller
from ..services import services

_TEMPLATES = Path(__file__).parent.parent / "templates"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def page(request: Request, template: str, *, caller: Caller | None, status: int = 200, **values: Any) -> HTMLResponse:
    """The template as a page. `caller`: who is logged in, for the head of the page."""
    use = services(request)
    text = (
        _environment()
        .get_template(template)
        .render(prefix=use.settings.listen.prefix, me=caller, version=use.version, **values)
    )
    return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def wants_page(request: Request) -> bool:
    """Whether a person is looking: browsers ask for HTML, programs do not."""
    return "text/html" in request.headers.get("accept", "")
