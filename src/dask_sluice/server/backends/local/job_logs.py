"""What a job wrote: its log, and the part of it that was moved aside (`agent/nursery_logs.py`). Blocks.

A position is `<bytes of the log read>-<which earlier part there was>`: when another part has been moved
aside since, reading goes on in that part and then at the beginning of the log.
"""

from __future__ import annotations

from ..characters import whole_end, whole_start
from ..protocol import LogPart
from .directories import JobFiles, OpenFile, opened_file

NO_EARLIER = "0"


def log_end(files: JobFiles, most_bytes: int) -> str:
    """The last bytes, as text."""
    return log_after(files, "", most_bytes).text


def log_after(files: JobFiles, position: str, most_bytes: int) -> LogPart:
    """What was written after `position`, from the beginning of it; '': the end of all, no more than `most_bytes`."""
    with opened_file(files.earlier_log) as earlier, opened_file(files.log) as log:
        if log is None:
            return LogPart("", position)
        identity = earlier.identity if earlier else NO_EARLIER
        begin, known = _read(position)
        if begin is None:
            data = log.end(most_bytes)
            if earlier and log.size < earlier.size and len(data) < most_bytes:
                data = earlier.end(most_bytes - len(data)) + data
            return _part(whole_start(data), log.size, identity)
        if known == identity:
            data = log.part(begin, most_bytes)
            return _part(data, begin + len(data), identity)
        return _over_the_cut(earlier, log, begin, identity, most_bytes)


def _over_the_cut(earlier: OpenFile | None, log: OpenFile, begin: int, identity: str, most_bytes: int) -> LogPart:
    """The log was moved aside after it had been read up to `begin`."""
    if earlier and log.size >= earlier.size:  # copied, and not emptied yet
        return LogPart("", f"{begin}-before.{identity}")
    rest = earlier.part(begin, most_bytes) if earlier else b""
    if earlier and begin + len(rest) < earlier.size:
        # Not all of it in one answer: the position still stands for the log as it was before.
        return _part(rest, begin + len(rest), f"before.{identity}")
    data = log.part(0, most_bytes - len(rest))
    return _part(rest + data, len(data), identity)


def _part(data: bytes, end: int, identity: str) -> LogPart:
    whole = whole_end(data)
    return LogPart(_text(whole), f"{max(0, end - (len(data) - len(whole)))}-{identity}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _read(position: str) -> tuple[int | None, str]:
    number, _, identity = position.partition("-")
    return (int(number), identity) if number.isdecimal() and len(number) < 19 else (None, "")
