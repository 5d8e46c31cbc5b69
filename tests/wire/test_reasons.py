"""Every reason has a sentence, and saying it never fails."""

import string

import pytest

from dask_sluice.wire.reasons import CATALOGUE, Reason, ReasonCode, last_lines


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_has_a_sentence_that_survives_missing_details(code: ReasonCode) -> None:
    assert Reason(code).sentence


@pytest.mark.parametrize("code", ReasonCode)
def test_every_sentence_survives_details_of_a_wrong_type(code: ReasonCode) -> None:
    fields = [name for _, name, _, _ in string.Formatter().parse(CATALOGUE[code].sentence) if name]
    assert Reason(code, dict.fromkeys(fields, object())).sentence


def test_a_sentence_is_filled_from_its_details() -> None:
    reason = Reason(ReasonCode.WORKER_OUT_OF_MEMORY, {"used_gib": 3.91, "limit_gib": 4})
    assert reason.sentence == "killed, out of memory at 3.9 of 4.0 GiB"
    assert "worker_memory" in reason.hint


def test_last_lines_keeps_the_end_and_sets_it_in() -> None:
    assert last_lines("a\n\nb\nc\n", count=2) == "\n  b\n  c"
    assert last_lines("") == ""


@pytest.mark.parametrize(("count", "told"), [(1, "ada asked for 1 worker"), (0, "ada asked for 0 workers")])
def test_one_is_told_as_one(count: int, told: str) -> None:
    assert Reason(ReasonCode.SCALED, {"by": "ada", "count": count}).sentence == told
    assert Reason(ReasonCode.SCALED, {"by": "ada"}).sentence == "ada asked for ? workers"
