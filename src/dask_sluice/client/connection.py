"""HTTP to the server: one kept-alive connection, errors as `wire.errors`, patience where patience helps.

What is safe to repeat is repeated when the connection breaks, when a server that answered before is not there, when
somebody on the way says that it broke (502, 504), when the server asks for a moment (429, 503 with Retry-After), or
when a JupyterHub's proxy does not know the way yet; a create is safe because it carries an idempotency key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from ..wire.errors import SluiceError, from_problem
from . import config
from .auth import Auth
from .errors import ServerUnreachable
from .explain import foreign, has_no_route, unreachable

TRIES = 6
"""With the pauses between them at least six seconds, in which a load balancer may send us to a server that is gone."""
LONGEST_PAUSE_S = 30.0
"""The longest that a dask-sluice server with too much to do asks for."""
STREAM_QUIET_S = 60.0
"""A server's stream says at least every 10 s that it is still there."""
TIMEOUT = httpx.Timeout(30.0, connect=10.0, read=60.0)


def split_address(address: str) -> tuple[str, str | None]:
    """The address without trailing slash and query, and the token that its query held.

    raises  ValueError if it has no scheme or no host
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        meant = f"\nPerhaps http://{address}, or https?" if "://" not in address else ""
        raise ValueError(f"the server's address must look like https://host[:port][/prefix], got {address!r}{meant}")
    token = parse_qs(parts.query).get("token", [None])[0]
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), token


class Connection:
    """One server, one caller."""

    def __init__(self, address: str, auth: Auth) -> None:
        self.address, self.auth = address, auth
        self._has_answered = False
        self._doubtful: httpx.Response | httpx.TransportError | None = None
        proxy = config.setting("http-client.proxy", True)
        self.via = proxy if isinstance(proxy, str) else _proxy_for(address) if proxy is True else None
        self._http = httpx.AsyncClient(
            base_url=address + "/",
            timeout=TIMEOUT,
            verify=_verify(address),
            trust_env=proxy is True,
            proxy=proxy if isinstance(proxy, str) else None,
            headers={"Accept": "application/json"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    def _check_open(self) -> None:
        if self._http.is_closed:
            raise RuntimeError(f"this connection to {self.address} was closed: make a new Gateway")

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON at `path`; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        return await self.send("GET", path, params=given)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> Any:
        """The decoded answer.

        raises  the `SluiceError` that the server's problem document describes; `ServerUnreachable`;
                `GatewayServerError` where something else than a dask-sluice server answers; RuntimeError when closed
        """
        self._check_open()
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                response = await self._http.request(
                    method,
                    path.lstrip("/"),
                    json=body,
                    params=params,
                    headers={**self._authorization(), **(headers or {})},
                )
            except httpx.TransportError as error:
                nothing_sent = isinstance(error, httpx.ConnectError)  # but a wrong address is told at once
                if last or not (self._has_answered if nothing_sent else repeatable):
                    raise self._unreachable(error) from error
                self._doubtful = error
                await asyncio.sleep(_pause(attempt, None))
                continue
            self._has_answered, self._doubtful = True, response
            if not last and _may_pass(response, repeatable=repeatable):
                await asyncio.sleep(_pause(attempt, response.headers.get("retry-after")))
                continue
            return self._decode(response)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def lines(self, path: str, params: Mapping[str, Any], resume: str = "") -> AsyncGenerator[str, None]:
        """Lines of a stream that may have no end, such as server-sent events; `resume`: after the one with this id.

        raises  ServerUnreachable, also where the connection breaks
        """
        self._check_open()
        headers = {**self._authorization(), "Accept": "text/event-stream"}
        if resume:
            headers["Last-Event-ID"] = resume
        timeout = httpx.Timeout(TIMEOUT.connect, read=STREAM_QUIET_S)
        given = {key: value for key, value in params.items() if value is not None}
        try:
            async with self._http.stream(
                "GET", path.lstrip("/"), params=given, headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    self._decode(answer)
                async for line in answer.aiter_lines():
                    yield line
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    @property
    def trouble(self) -> SluiceError | None:
        """Why the newest request is being repeated, if it is: for whoever cannot wait for its end."""
        match self._doubtful:
            case httpx.TransportError() as error:
                return self._unreachable(error)
            case httpx.Response() as response if not response.is_success:
                try:
                    self._decode(response)
                except SluiceError as error:
                    return error
        return None

    async def document(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, asked for once, whatever the status is.

        raises  as `send`, also where the object describes an error
        """
        try:
            response = await self._http.get(path.lstrip("/"), headers=self._authorization())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        self._has_answered = True
        if response.headers.get("content-type", "").startswith("application/json"):
            with contextlib.suppress(json.JSONDecodeError):
                if isinstance(found := response.json(), dict) and "code" not in found:
                    return found
        self._decode(response)
        raise foreign(self.address, response)

    def _unreachable(self, error: httpx.TransportError) -> ServerUnreachable:
        return unreachable(self.address, error, via=self.via, answered=self._has_answered)

    def _authorization(self) -> dict[str, str]:
        header = self.auth.header()
        return {"Authorization": header} if header else {}

    def _decode(self, response: httpx.Response) -> Any:
        if response.status_code == 204:
            return None
        kind = response.headers.get("content-type", "").partition(";")[0]
        if kind in ("text/plain", "text/csv") and response.is_success:
            return response.text
        if kind.endswith("json"):
            try:
                document = response.json()
            except json.JSONDecodeError as error:
                raise foreign(self.address, response) from error
            if response.is_success:
                return document
            if isinstance(document, dict) and "code" in document:
                raise from_problem({**document, "retry_after_s": _seconds(response)}, response.status_code)
        raise foreign(self.address, response)


def _proxy_for(address: str) -> str | None:
    """The HTTP proxy that this machine's environment names for the address."""
    parts, proxies = urlsplit(address), getproxies()
    return None if proxy_bypass(parts.netloc) else proxies.get(parts.scheme) or proxies.get("all")


def _verify(address: str) -> ssl.SSLContext | bool:
    """Certificates are checked as usual; for plain HTTP the costly reading of them is left out."""
    return True if address.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _may_pass(response: httpx.Response, *, repeatable: bool) -> bool:
    """Whether the same request may succeed in a moment. After 429, 503, or a hub without a route, nothing was done;
    after 502 nobody knows.
    """
    if response.status_code in (429, 503):
        return "retry-after" in response.headers
    if has_no_route(response):
        return True
    return repeatable and response.status_code in (502, 504)


def _seconds(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _pause(attempt: int, retry_after: str | None) -> float:
    """What the server asks for, else 0.2 s doubling; with jitter, so that a crowd does not come back as one."""
    wanted = float(retry_after) if retry_after and retry_after.isdigit() else 0.2 * 2.0**attempt
    return min(wanted, LONGEST_PAUSE_S) * random.uniform(1.0, 1.3)
