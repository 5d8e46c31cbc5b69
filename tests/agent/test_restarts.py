"""How a worker process ended, in words, and when enough is enough."""

from __future__ import annotations

import signal

import pytest

from dask_sluice.agent.restarts import GIB, Memory, how_it_ended, may_restart, out_of_memory

FULL = Memory(int(3.9 * GIB), 4 * GIB)


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (-signal.SIGKILL, "killed by SIGKILL"),
        (-200, "killed by signal 200"),
        (255, "it is gone, and nothing tells how"),
    ],
)
def test_every_end_has_words(exit_code: int, words: str) -> None:
    assert how_it_ended(exit_code) == words


def test_an_end_for_memory_tells_how_much_there_was() -> None:
    assert how_it_ended(-signal.SIGTERM, FULL) == "out of memory at 3.9 of 4.0 GiB"


def test_only_a_full_process_ended_by_a_signal_was_killed_for_its_memory() -> None:
    assert out_of_memory(-signal.SIGTERM, FULL, 0.95)
    assert out_of_memory(-signal.SIGKILL, FULL, 0.95)
    assert not out_of_memory(-signal.SIGSEGV, FULL, 0.95)
    assert not out_of_memory(1, FULL, 0.95)
    assert not out_of_memory(-signal.SIGTERM, Memory(2 * GIB, 4 * GIB), 0.95)
    assert not out_of_memory(-signal.SIGTERM, None, 0.95)


def test_restarts_are_counted_within_the_window_only() -> None:
    assert may_restart([1, 2, 3], now=3, max_restarts=3, window_s=60)
    assert not may_restart([1, 2, 3, 4], now=4, max_restarts=3, window_s=60)
    assert may_restart([1, 2, 3, 100], now=100, max_restarts=3, window_s=60)
    assert not may_restart([5], now=5, max_restarts=0, window_s=60)
