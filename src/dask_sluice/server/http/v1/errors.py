"""Failures as dask-gateway's clients understand them: `{"error": sentence}`.

Those clients raise ValueError for 404 and 422, GatewayClusterError for 409 and GatewayServerError for 500,
each with the sentence; any other status loses it. So statuses of ours that they do not know become the
nearest one that they do.
"""

from __future__ import annotations

from fastapi.responses import JSONResponse, Response

from ....wire.errors import SluiceError

_STATUS = {413: 422, 429: 422, 502: 500, 503: 500}


def error_answer(error: SluiceError, challenge: str) -> Response:
    """The answer. `challenge` makes the client try again with its credentials."""
    status = _STATUS.get(error.status, error.status)
    headers = {"WWW-Authenticate": challenge} if status == 401 else {}
    # The stock clients tell by this very sentence nothing, but people search for it.
    sentence = "Authentication required" if status == 401 else str(error)
    return JSONResponse({"error": sentence}, status, headers)
