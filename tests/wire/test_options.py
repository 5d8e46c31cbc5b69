"""Options are checked alike on both ends: right values pass, wrong ones name the option and what it accepts."""

import pytest

from dask_sluice.wire.errors import OptionInvalid
from dask_sluice.wire.options import Option, OptionType, check_options

CORES = Option("worker_cores", OptionType.INT, 1, minimum=1, maximum=8)
MEMORY = Option("worker_memory", OptionType.FLOAT, 2.0, unit="GiB", minimum=0.5, maximum=16)
QUEUE = Option("queue", OptionType.SELECT, "short", choices=("short", "long"))
SPOT = Option("spot", OptionType.BOOL, False)
KNOWN = [CORES, MEMORY, QUEUE, SPOT]


def test_defaults_fill_what_is_not_given_in_the_servers_order() -> None:
    assert list(check_options(KNOWN, {"spot": True}).items()) == [
        ("worker_cores", 1),
        ("worker_memory", 2.0),
        ("queue", "short"),
        ("spot", True),
    ]


def test_a_whole_number_is_taken_for_a_float() -> None:
    value = MEMORY.check(4)
    assert value == 4.0
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        (CORES, True, "worker_cores must be a whole number, got True"),
        (CORES, 1.5, "worker_cores must be a whole number, got 1.5"),
        (CORES, 9, "worker_cores must be <= 8, got 9"),
        (MEMORY, 0.25, "worker_memory must be >= 0.5 GiB, got 0.25"),
        (MEMORY, float("nan"), "worker_memory must be a finite number, got nan"),
        (QUEUE, "middle", "queue must be one of ['short', 'long'], got 'middle'"),
        (SPOT, 1, "spot must be true or false, got 1"),
    ],
)
def test_a_wrong_value_is_refused_with_the_option_named(option: Option, value: object, sentence: str) -> None:
    with pytest.raises(OptionInvalid) as caught:
        option.check(value)
    assert caught.value.message == sentence
    assert caught.value.option == option.name


def test_an_unknown_option_names_the_nearest_known_one() -> None:
    with pytest.raises(OptionInvalid, match="Did you mean 'worker_memory'"):
        check_options(KNOWN, {"worker_memry": 3})


@pytest.mark.parametrize("kind", list(OptionType))
@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_that_no_float_can_hold_is_refused(kind: OptionType, value: int) -> None:
    with pytest.raises(OptionInvalid):
        Option("x", kind, None, minimum=0, maximum=1).check(value)
