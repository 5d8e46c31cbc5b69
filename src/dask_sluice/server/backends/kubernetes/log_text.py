"""From a log as the API gives it (`2026-11-25T19:52:39.123456789Z text`, line for line) to what people read. Pure.

A position is `<second>/<bytes>`: so much was read of what was written from that second on. The API begins a log at a
second, and not more exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..characters import whole_end, whole_start
from ..protocol import LogPart

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ?")
STAMP_BYTES = 40
"""More than the time takes in front of a line."""


def text_of(log: bytes, most_bytes: int) -> str:
    """The end of it, without times."""
    return _text(_newest(b"".join(line for _, line in _lines(log)), most_bytes))


def since_of(position: str) -> str:
    """The second at which a log is to begin that is read from this position; empty: at its beginning."""
    return position.partition("/")[0]


def part_after(log: bytes, position: str, most_bytes: int) -> LogPart:
    """What comes after the position, the oldest of it; '': the newest of all.

    log   from `since_of(position)` on, or all that is there
    """
    since, _, read = position.partition("/")
    lines = [(second, line) for second, line in _lines(log) if second >= since]
    if not lines:
        return LogPart("", position)
    whole = b"".join(line for _, line in lines)
    begin = int(read) if read.isdecimal() else len(whole) - len(_newest(whole, most_bytes))
    cut = whole[begin : begin + most_bytes]
    part = whole_end(cut) or cut  # a limit of a byte or two must not hold up who follows
    return LogPart(_text(part), _position(lines, begin + len(part)) if part or not position else position)


def _position(lines: list[tuple[str, bytes]], end: int) -> str:
    """The position `end` bytes after the beginning of the first of these lines, by the latest second before it."""
    second, second_begins, at = lines[0][0], 0, 0
    for when, line in lines:
        if at >= end:
            break
        if when > second:
            second, second_begins = when, at
        at += len(line)
    return f"{second}/{end - second_begins}"


def _lines(log: bytes) -> Iterator[tuple[str, bytes]]:
    """Each line with its second; a line without time is the rest of one that was cut, and not shown."""
    for line in log.splitlines(keepends=True):
        if stamp := _STAMP.match(line):
            yield stamp[1].decode(), line[stamp.end() :]


def _newest(data: bytes, most_bytes: int) -> bytes:
    """The end, beginning with a whole character."""
    return whole_start(data[len(data) - most_bytes :] if len(data) > most_bytes else data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
