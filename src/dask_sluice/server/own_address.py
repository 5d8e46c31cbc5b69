"""Whether the links that people get lead here: once it is ready, the server asks for itself at `listen.public_url`."""

from __future__ import annotations

import logging

import httpx

from .clock import Clock

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 4.0, 10.0, 20.0, 30.0)
"""An ingress or a hub knows of a new server a while after that is ready."""
TIMEOUT_S = 10.0


async def watch_own_address(public_url: str, clock: Clock) -> None:
    """Say in the log that links do not lead here, if after a minute they still do not."""
    why: str | None = ""
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        for pause_s in PAUSES_S:
            why = await why_not_here(http, public_url)
            if why is None:
                return
            await clock.sleep(pause_s)
    log.warning(
        "links to dashboards begin with %s (listen.public_url), where no dask-sluice server answers: %s. "
        "Where only browsers can reach it, all is well.",
        public_url,
        why,
    )


async def why_not_here(http: httpx.AsyncClient, public_url: str) -> str | None:
    """What is wrong at the address; None where a server of ours answers."""
    try:
        answer = await http.get(f"{public_url.rstrip('/')}/health/live")
        said = answer.json()
    except httpx.TimeoutException:
        return f"no answer in {TIMEOUT_S:g} s"
    except httpx.HTTPError as error:
        return f"it cannot be reached ({error})"
    except ValueError:  # no JSON
        said = None
    if isinstance(said, dict) and said.get("status") in ("live", "dead"):
        return None
    return f"its answer to /health/live is {answer.status_code} {answer.reason_phrase}"
