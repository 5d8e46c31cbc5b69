"""One connection to a nursery: requests with their answers, and what the nursery tells unasked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from typing import Any

from ..protocol import Unavailable

_LONGEST_LINE = 4_000_000
_ANSWER_TAKES_S = 15.0


class NurseryLost(Unavailable):
    """The nursery ended, or hung up, before it answered."""


class Connection:
    """A dialled connection. `on_end` is called with the job of each child that ended."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_end: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_end = on_end
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def dial(cls, path: str, on_end: Callable[[str], None]) -> Connection:
        """A connection; OSError where no nursery listens."""
        reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_LINE)
        return cls(reader, writer, on_end)

    @property
    def is_open(self) -> bool:
        return not self._reading.done()

    async def request(self, op: str, *, timeout_s: float = _ANSWER_TAKES_S, **fields: Any) -> dict[str, Any]:
        """The nursery's answer.

        raises  NurseryLost if it ends before it answers, Unavailable if it takes too long
        """
        if not self.is_open:
            raise NurseryLost("the process from which clusters are forked has ended")
        request_id = next(self._ids)
        answer = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(json.dumps({"op": op, "id": request_id, **fields}).encode() + b"\n")
            async with asyncio.timeout(timeout_s):
                return dict(await answer)
        except TimeoutError as error:
            raise Unavailable(
                f"the process from which clusters are forked did not answer in {timeout_s:g} s"
            ) from error
        finally:
            self._waiting.pop(request_id, None)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):  # broken off, or something else than a nursery is at the other end
            pass
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(NurseryLost("the process from which clusters are forked ended unexpectedly"))

    def _take(self, message: Any) -> None:
        """A nursery may be a user's own process: what it says has to be looked at."""
        if not isinstance(message, dict):
            raise ValueError(f"not a message: {message!r}"[:200])  # noqa: TRY004 - as one that is no JSON at all
        if message.get("event") == "ended":
            self._on_end(str(message.get("job")))
            return
        request_id = message.get("id")
        answer = self._waiting.get(request_id) if isinstance(request_id, int) else None
        if answer is not None and not answer.done():
            answer.set_result(message)
