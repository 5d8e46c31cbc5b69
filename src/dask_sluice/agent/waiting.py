"""A process that waits, as nobody's, with everything imported, to become one user's scheduler.

Whoever brings the identity has to show a token, and sees by this process's key that it is the right one. That
works once: from the first answer on nobody listens here, until the scheduler does. What comes before is no
secret of any user.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import logging
import os
import ssl
import sys
import tempfile
from typing import NoReturn, Optional

from ..wire.launch import LAUNCH_VARIABLE, Claim, ClaimAnswer, SchedulerLaunch, WaitingLaunch
from .nursery_warm import import_all
from .read_early import take_over
from .signals import until

log = logging.getLogger("sluice.agent")

LONGEST_CLAIM_BYTES = 2**20
SAY_WITHIN_S = 10.0
"""Whoever dials and says nothing is let go after so long."""


def wait(launch: WaitingLaunch) -> Optional[SchedulerLaunch]:
    """The launch document of the scheduler to become; None: nobody came in time. Environment variables are set.

    raises  Stopped when a signal asked this process to end
    """
    import_all("scheduler")
    gc.collect()
    gc.freeze()
    claim = asyncio.run(_claimed(launch))
    if claim is None:
        log.info("nobody needed this process in %d s: another one takes its place", launch["wait_s"])
        return None
    log.info("becoming the scheduler of %s", claim["launch"]["cluster"])
    if take_over(claim["variables"]):
        _start_anew(claim["launch"])
    return claim["launch"]


async def _claimed(launch: WaitingLaunch) -> Optional[Claim]:
    loop = asyncio.get_running_loop()
    claimed: asyncio.Future[Claim] = loop.create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), SAY_WITHIN_S)
            claim, error = _checked(line, launch["token_sha256"])
            if claim is not None and claimed.done():
                claim, error = None, "this process was given to somebody already"
            if claim is not None:
                claimed.set_result(claim)
            writer.write(json.dumps(ClaimAnswer(error=error)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError) as failure:
            log.info("somebody dialled, and did not say what this process is to be: %s", type(failure).__name__)
        finally:
            writer.close()

    server = await asyncio.start_server(
        answer, launch["host"], launch["port"], ssl=_context(launch), limit=LONGEST_CLAIM_BYTES
    )
    log.info("waiting for somebody who needs a scheduler")
    try:
        return await until(asyncio.wait_for(asyncio.shield(claimed), launch["wait_s"]))
    except asyncio.TimeoutError:
        return None
    finally:
        server.close()
        await asyncio.sleep(0)  # the answer is on its way


def _checked(line: bytes, token_sha256: str) -> tuple[Optional[Claim], str]:
    """The claim, or why it is none."""
    try:
        said = json.loads(line)
        token = hashlib.sha256(said["token"].encode()).hexdigest()
        if not hmac.compare_digest(token, token_sha256):
            return None, "the token is wrong"
        if said["launch"]["role"] != "scheduler":
            return None, "this process can become a scheduler only"
        variables = {str(name): str(value) for name, value in said["variables"].items()}
        return Claim(token="", launch=said["launch"], variables=variables), ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, "this is no claim: a line of JSON with token, launch and variables"


def _context(launch: WaitingLaunch) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile("w", prefix="sluice-") as file:  # OpenSSL reads an identity from files only
        file.write(launch["key"] + launch["certificate"])
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _start_anew(launch: SchedulerLaunch) -> NoReturn:
    """Through a new interpreter, for variables that Python or a library has read already. Nothing gets on a disk."""
    descriptor = os.memfd_create("sluice-launch", 0)
    os.write(descriptor, json.dumps(launch).encode())
    os.environ[LAUNCH_VARIABLE] = f"/proc/self/fd/{descriptor}"
    os.execv(sys.executable, [sys.executable, sys.argv[0], "scheduler"])
