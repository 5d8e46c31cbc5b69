"""Options as a user handles them: a mistake is refused where it is made, with the field named."""

import pytest

from dask_sluice import Options
from dask_sluice.wire.errors import OptionInvalid
from dask_sluice.wire.options import Option, OptionType

KNOWN = [
    Option("worker_cores", OptionType.INT, 1, label="Cores", help="Cores of one worker", minimum=1, maximum=8),
    Option("worker_memory", OptionType.FLOAT, 2.0, unit="GiB", minimum=0.5),
    Option("queue", OptionType.SELECT, "short", choices=("short", "long")),
    Option("tags", OptionType.MAPPING, {}),
]


@pytest.fixture
def options() -> Options:
    return Options(KNOWN)


def test_values_are_read_and_set_as_attributes_and_as_items(options: Options) -> None:
    options.worker_cores = 2
    options["worker_memory"] = 4
    assert (options["worker_cores"], options.worker_memory) == (2, 4.0)
    assert dict(options) == {"worker_cores": 2, "worker_memory": 4.0, "queue": "short", "tags": {}}
    assert repr(options) == "Options<worker_cores=2, worker_memory=4.0, queue='short', tags={}>"


def test_a_value_out_of_range_is_refused_and_the_old_one_stays(options: Options) -> None:
    with pytest.raises(OptionInvalid, match="worker_cores must be <= 8, got 9"):
        options.worker_cores = 9
    assert options.worker_cores == 1


def test_an_unknown_name_is_refused_with_the_nearest_one(options: Options) -> None:
    with pytest.raises(AttributeError, match="Did you mean 'worker_memory'"):
        options.worker_memry = 1
    with pytest.raises(AttributeError, match="Did you mean 'worker_cores'"):
        _ = options.worker_core
    with pytest.raises(KeyError):
        _ = options["nothing"]


def test_an_option_cannot_be_deleted(options: Options) -> None:
    with pytest.raises(TypeError):
        del options["queue"]


def test_completion_offers_the_options(options: Options) -> None:
    assert {"worker_cores", "queue"} <= set(dir(options))


def test_the_form_and_the_options_follow_each_other(options: Options) -> None:
    form = options.form()
    fields = form.children[1].children
    cores, status = fields[1], fields[2]
    cores.value = 3
    assert options.worker_cores == 3
    options.worker_cores = 5
    assert cores.value == 5
    cores.value = 99
    assert options.worker_cores == 5
    assert "must be &lt;= 8" in status.value or "must be <= 8" in status.value
    cores.value = 6
    assert (options.worker_cores, status.value) == (6, "")


def test_a_mapping_is_written_as_yaml_in_the_form(options: Options) -> None:
    field = options.form().children[1].children[10]
    field.value = "team: ice\ncount: 2"
    assert options.tags == {"team": "ice", "count": 2}


def test_a_secret_is_never_shown_and_a_hidden_option_only_where_it_was_set() -> None:
    options = Options(
        [*KNOWN, Option("token", OptionType.STRING, "", secret=True), Option("uid", OptionType.INT, 0, hidden=True)]
    )
    assert "token=''" in repr(options)
    options.token, options.uid = "s3cret", 0
    assert "s3cret" not in repr(options)
    assert "token='**********'" in repr(options)
    assert "uid" not in repr(options)
    assert "uid" not in dir(options)
    labels = [label.value for label in options.form().children[1].children[::3]]
    assert (labels[-1], "uid" in labels) == ("token", False)
    field = options.form().children[1].children[-2]
    assert type(field).__name__ == "Password"
    options.uid = 7
    assert "uid=7" in repr(options)


def test_a_wrong_secret_is_refused_without_repeating_it() -> None:
    with pytest.raises(OptionInvalid) as caught:
        Options([Option("token", OptionType.STRING, "", secret=True)]).token = ["s3cret"]
    assert "s3cret" not in str(caught.value)


def test_the_form_shows_labels_units_and_help(options: Options) -> None:
    labels = options.form().children[1].children[::3]
    assert [label.value for label in labels] == ["Cores", "worker_memory (GiB)", "queue", "tags"]
    assert labels[0].tooltip == "Cores of one worker"
