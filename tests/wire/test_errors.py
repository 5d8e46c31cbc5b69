"""An error keeps its class, sentence and details on its way through a problem document."""

import pytest

from dask_sluice.wire import errors


@pytest.mark.parametrize("cls", errors.CROSSING, ids=lambda cls: cls.__name__)
def test_every_error_comes_back_as_itself(cls: type[errors.SluiceError]) -> None:
    if cls is errors.OptionInvalid:
        sent: errors.SluiceError = errors.OptionInvalid("cores", "too many", hint="fewer")
    else:
        sent = cls("what was wrong", hint="what to do", details={"limit": 3}, request_id="r1")
    got = errors.from_problem(sent.to_problem(), sent.status)
    assert type(got) is cls
    assert (got.message, got.hint, got.details, got.request_id) == (
        sent.message,
        sent.hint,
        sent.details,
        sent.request_id,
    )


def test_codes_are_unique() -> None:
    assert len({cls.code for cls in errors.CROSSING}) == len(errors.CROSSING)


def test_no_error_of_this_module_is_forgotten() -> None:
    here = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.SluiceError)}
    assert here == {errors.SluiceError, *errors.CROSSING}


def test_an_unknown_code_falls_back_to_the_status() -> None:
    got = errors.from_problem({"code": "from_the_future", "detail": "no"}, 404)
    assert isinstance(got, errors.ClusterNotFound)


def test_a_body_that_is_no_problem_document_still_gives_a_sentence() -> None:
    assert str(errors.from_problem({}, 502)) == "HTTP status 502"


def test_what_old_code_catches_as_value_error_is_one() -> None:
    for cls in (errors.ClusterNotFound, errors.OptionInvalid, errors.RequestInvalid, errors.EnvironmentInvalid):
        assert issubclass(cls, ValueError)
