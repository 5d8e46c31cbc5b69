"""What was used, from the ledger: for people, for spreadsheets, for tools that read cloud bills."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ....wire.api import UsageReport
from ...focus import as_focus
from ...usage import as_csv, report
from ..gate import Authenticated
from ..services import services

router = APIRouter(tags=["usage"])

CSV = "text/csv"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`json`: a report. `csv`: the same as a table. `focus`: FOCUS 1.0, one row for each cluster, "
        "kind of process and day; `by` does not matter there.",
        "content": {CSV: {"schema": {"type": "string"}}},
    }
}
Time = Annotated[str | None, Query(max_length=40)]


@router.get("/usage", response_model=UsageReport, responses=_RESPONSES)
async def usage(
    request: Request,
    caller: Authenticated,
    by: Annotated[
        str, Query(max_length=100, description="user, group, profile, cluster or day, or several, separated by commas.")
    ] = "user",
    since: Annotated[
        Time, Query(description="A date, a time (UTC) or how long ago: `7d`. Default: the first of this month.")
    ] = None,
    until: Annotated[Time, Query(description="The same; default: now.")] = None,
    format: Annotated[Literal["json", "csv", "focus"], Query(description="The form of the answer.")] = "json",
) -> UsageReport | Response:
    """What you used; for administrators, what everybody used."""
    use = services(request)
    if format == "focus":
        fold = partial(as_focus, site=use.settings.listen.public_url or "dask-sluice")
        return Response(await use.control.usage(caller, by, since, until, fold), media_type=CSV)
    found = await use.control.usage(caller, by, since, until, report)
    return found if format == "json" else Response(as_csv(found), media_type=CSV)
