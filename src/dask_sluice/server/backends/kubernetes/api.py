"""The Kubernetes API as far as we need it: JSON requests, the lines of a watch, and errors told apart.

Why not a client library: decision 0020.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import httpx

from ..protocol import Unavailable
from .access import Access

Object = Mapping[str, Any]
"""One API object, as its JSON is."""

CONNECT_S = 5.0
ANSWER_S = 30.0
SILENT_WATCH_S = 120.0
"""The API server sends a bookmark each minute: a watch that is silent for twice as long is dead."""
CONNECTIONS = 32
TRIES = 3
"""Of a request that was throttled or met a server about to end; after that the caller decides how long to wait."""
LONGEST_PAUSE_S = 2.0


class ApiError(Exception):
    """The API server said no, and would again."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status."""
        self.reason = reason
        """The API's own word, such as `AlreadyExists`, `Forbidden`, `Invalid`, `NotFound`, `Expired`."""
        self.message = message


class Api:
    """A connection to one API server."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http = httpx.AsyncClient(
            base_url=access.server,
            verify=access.tls,
            trust_env=False,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS),
            headers={"User-Agent": "dask-sluice"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: str) -> Object:
        return await self._json("GET", path, parameters)

    async def create(self, path: str, body: Object) -> Object:
        return await self._json("POST", path, {}, body)

    async def patch(self, path: str, body: Object, kind: str) -> Object:
        """The object as it is then. `kind`: the media type of the patch."""
        return await self._json("PATCH", path, {}, body, {"Content-Type": kind})

    async def delete(self, path: str, body: Object | None = None, **parameters: str) -> Object:
        """Of one object, or of all that a selector names."""
        return await self._json("DELETE", path, parameters, body)

    async def text(self, path: str, most_bytes: int, **parameters: str) -> bytes:
        """The newest of a text that the API streams, such as a log, and no more than so much of it."""
        newest = bytearray()
        async with self._stream(path, parameters, ANSWER_S) as response:
            async for chunk in response.aiter_bytes():
                newest += chunk
                del newest[:-most_bytes]
        return bytes(newest)

    @asynccontextmanager
    async def watch(self, path: str, **parameters: str) -> AsyncIterator[AsyncIterator[Object]]:
        """Events as they come, until the API server ends the watch.

        raises  ApiError, also for an event of the kind ERROR; Unavailable
        """
        async with self._stream(path, {**parameters, "watch": "true"}, SILENT_WATCH_S) as response:
            yield _events(response)

    async def _json(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: Object | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Object:
        for attempt in range(TRIES):
            try:
                response = await self._http.request(
                    method, path, params=parameters, json=body, headers={**self._access.headers(), **headers}
                )
            except (httpx.TransportError, OSError) as error:
                raise Unavailable(_no_answer(error)) from error
            if response.is_success:
                answer: Object = response.json()
                return answer
            if response.status_code not in (429, 503, 504) or attempt == TRIES - 1:
                break
            await asyncio.sleep(_pause_s(response, attempt))
        raise _error(response.status_code, _status(response.content))

    @asynccontextmanager
    async def _stream(self, path: str, parameters: Mapping[str, str], silent_s: float) -> AsyncIterator[httpx.Response]:
        timeout = httpx.Timeout(silent_s, connect=CONNECT_S)
        try:
            async with self._http.stream(
                "GET", path, params=parameters, headers=self._access.headers(), timeout=timeout
            ) as response:
                if not response.is_success:
                    raise _error(response.status_code, _status(await response.aread()))
                yield response
        except (httpx.TransportError, OSError) as error:
            raise Unavailable(_no_answer(error)) from error


async def _events(response: httpx.Response) -> AsyncIterator[Object]:
    async for line in response.aiter_lines():
        event = json.loads(line)
        if event["type"] == "ERROR":
            raise _error(int(event["object"].get("code", 500)), event["object"])
        yield event


def _error(status: int, body: Mapping[str, Any]) -> ApiError | Unavailable:
    message = str(body.get("message") or f"HTTP status {status}")
    if status == 401:
        return Unavailable(f"the API server does not accept this server's account: {message}")
    if status == 429 or status >= 500:
        return Unavailable(f"the API server cannot answer just now: {message}")
    return ApiError(status, str(body.get("reason", "")), message)


def _status(content: bytes) -> Mapping[str, Any]:
    """The `Status` object that explains an error; what a load balancer says is no such thing."""
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _pause_s(response: httpx.Response, attempt: int) -> float:
    asked = response.headers.get("Retry-After", "")
    pause_s = float(asked) if asked.isdecimal() else 0.25 * 2**attempt
    return min(pause_s, LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)


def _no_answer(error: Exception) -> str:
    how = "nothing came in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
    return f"the API server does not answer: {how}"
