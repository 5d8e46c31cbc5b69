"""What a nursery says is looked at before it is believed: as root it may be a user's own process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dask_sluice.server.backends.local.connection import Connection, NurseryLost
from dask_sluice.server.backends.protocol import Unavailable


class Talker:
    """Listens where a nursery would, and says the same to everybody."""

    def __init__(self, directory: Path, says: bytes, *, then_hang_up: bool = True) -> None:
        self.path = str(directory / "n.sock")
        self.says = says
        self.then_hang_up = then_hang_up
        self.ended: list[str] = []

    async def __aenter__(self) -> Connection:
        self.server = await asyncio.start_unix_server(self._talk, self.path)
        self.connection = await Connection.dial(self.path, self.ended.append)
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()
        self.server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(self.says)
        await writer.drain()
        if not self.then_hang_up:
            await reader.read()
        writer.close()


@pytest.mark.parametrize("says", [b"", b"\n", b"{", b"[]\n", b"7\n", b"\xff\n", b'{"id": []}\n', b'{"id": 99}\n'])
async def test_nonsense_loses_the_nursery_and_nothing_else(tmp_path: Path, says: bytes) -> None:
    async with Talker(tmp_path, says) as connection:
        with pytest.raises(NurseryLost):
            await connection.request("ping")
        assert not connection.is_open
        with pytest.raises(NurseryLost):
            await connection.request("ping")


async def test_a_line_without_end_loses_the_nursery(tmp_path: Path) -> None:
    async with Talker(tmp_path, b"x" * 5_000_000) as connection:
        with pytest.raises(NurseryLost):
            await connection.request("ping")


async def test_ends_of_children_are_passed_on_between_answers(tmp_path: Path) -> None:
    talker = Talker(tmp_path, b'{"event": "ended", "job": "one"}\n{"id": 1, "pid": 2}\n{"event": "ended"}\n')
    async with talker as connection:
        assert (await connection.request("ping"))["pid"] == 2
        with pytest.raises(NurseryLost):
            await connection.request("ping")
    assert talker.ended == ["one", "None"]


async def test_a_nursery_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with Talker(tmp_path, b"", then_hang_up=False) as connection:
        with pytest.raises(Unavailable, match=r"did not answer in 0\.05 s"):
            await connection.request("ping", timeout_s=0.05)
