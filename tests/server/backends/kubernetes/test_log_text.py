"""A log is read to its end piece by piece, whatever the pieces, and nothing comes twice or is left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes.log_text import part_after, since_of, text_of

LINES = st.lists(st.tuples(st.integers(0, 3), st.text("aé\U0001f600 ", max_size=6)), max_size=12)


def stamped(lines: list[tuple[int, str]]) -> bytes:
    """A log as the API gives it; each line so many seconds after the one before."""
    second, log = 0, b""
    for number, (later, text) in enumerate(lines):
        second += later
        log += f"2026-11-25T19:{second // 60:02}:{second % 60:02}.{number:09}Z {text}\n".encode()
    return log


def given_since(log: bytes, position: str) -> bytes:
    """What the API gives that is asked with `sinceTime`."""
    return b"".join(line for line in log.splitlines(keepends=True) if line[:19].decode() >= since_of(position))


@given(LINES, LINES, st.integers(4, 30))
def test_a_log_that_grows_is_read_whole(first: list[tuple[int, str]], more: list[tuple[int, str]], size: int) -> None:
    text, position = "", ""
    start = len(text_of(stamped(first), 10**6).encode()) - len(text_of(stamped(first), size).encode())
    for log in (stamped(first), stamped(first + more)):
        while (part := part_after(given_since(log, position), position, size)).position != position:
            text, position = text + part.text, part.position
    whole = text_of(stamped(first + more), 10**6).encode()
    assert text.encode() == (whole[start:] if first else whole[len(whole) - len(text.encode()) :])


def test_the_rest_of_a_line_that_was_cut_is_not_shown() -> None:
    assert text_of(b"rest of a line\n" + stamped([(0, "whole")]), 100) == "whole\n"


def test_the_end_begins_with_a_whole_character() -> None:
    assert text_of(stamped([(0, "éé")]), 4) == "é\n"
