"""Templates: names and sums, and nothing by which anything else could be reached."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dask_sluice.server.identity.names import escaped
from dask_sluice.server.model import Caller
from dask_sluice.server.policy.names import user_values
from dask_sluice.server.policy.templates import Scope, TemplateError, check, fill, names

ADA = Caller("ada", groups=("ice", "sea"))
SCOPE = Scope(
    {**user_values(ADA), "options.cores": 5.0, "options.tags": {"a": 1}, "options.on": True, "options.token": "s3cret"},
    ADA.groups,
    frozenset({"options.token"}),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("/home/{user.name}", "/home/ada"),
        ("{user.groups}", ("ice", "sea")),
        ("of {user.groups}", "of ice,sea"),
        ("{options.cores}", 5.0),
        ("{options.cores} GiB", "5 GiB"),
        ("{options.tags}", {"a": 1}),
        ("{options.on}!", "true!"),
        ("{0.88 * min(options.cores / 2, 1)}", 0.88),
        ("{ceil(options.cores * 0.75)}", 4),
        ("{-options.cores // 2}", -3.0),
        ('{{"a": {options.cores}}}', '{"a": 5}'),
        (["x", "{user.group}/y"], ["x", "ice/y", "sea/y"]),
        ({"a": [{"b": "{user.name}"}]}, {"a": [{"b": "ada"}]}),
        (7, 7),
    ],
)
def test_what_a_template_comes_to(text: Any, value: Any) -> None:
    assert fill(text, SCOPE) == value


@pytest.mark.parametrize(
    "text",
    [
        "{user.name.__class__}",
        "{user.__class__}",
        "{user}",
        "{name}",
        "{().__class__}",
        "{__import__('os')}",
        "{open('/etc/passwd')}",
        "{options['cores']}",
        "{options.cores ** 9}",
        "{'a' * 10}",
        "{lambda: 1}",
        "{[x for x in 1]}",
        "{user.name if 1 else 2}",
        "{True}",
        "{}",
        "{user.name!r}",
        "{user.name:>1000000000}",
        "{" + "-" * 400 + "1}",
        "{" + "1+" * 600 + "1}",
        "{user.name",
        "user.name}",
    ],
)
def test_nothing_else_can_be_said_in_braces(text: str) -> None:
    with pytest.raises(TemplateError):
        fill(text, SCOPE)
        # Deep nesting is no mistake in itself, so that one must have failed for its value.
        raise TemplateError


@pytest.mark.parametrize("text", ["{options.cores / 0}", "{user.name * 2}", "{options.on + 1}", "a {options.tags}"])
def test_a_sum_without_a_value_is_an_error_that_names_no_value(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        fill(text, SCOPE)
    assert "ada" not in str(caught.value)


def test_what_a_user_gave_is_never_read_as_a_template() -> None:
    scope = Scope({"options.x": "{user.name}", "options.y": "{{"})
    assert fill("a {options.x} {options.y}", scope) == "a {user.name} {{"
    assert fill("{options.x}", scope) == "{user.name}"


def test_what_is_made_of_a_secret_is_one() -> None:
    for text in ("{options.token}", "Bearer {options.token}"):
        filled = fill(text, SCOPE)
        assert isinstance(filled, SecretStr)
        assert "s3cret" not in repr(filled)
        assert "s3cret" in filled.get_secret_value()


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(TemplateError, match=r"there is no \{options.core\}. Did you mean \{options.cores\}"):
        check("{options.core}", ["options.cores", "user.name"])
    assert names("{user.name} {min(options.a, 2)}") == {"user.name", "options.a"}


@given(st.text(max_size=60))
def test_no_text_does_anything_but_fill_in_or_be_refused(text: str) -> None:
    try:
        fill(text, SCOPE)
    except TemplateError:
        return


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ada", "ada"),
        ("ada@x.org", "ada-40x-2eorg"),
        ("Ada", "u--41da"),
        ("a-b", "a-2db"),
        ("é", "u--c3-a9"),
        ("", "u-"),
    ],
)
def test_names_are_escaped_as_kubespawner_does_where_that_is_valid(name: str, label: str) -> None:
    assert escaped(name) == label


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_escaped_names_are_labels_and_no_two_become_one(one: str, two: str) -> None:
    label = escaped(one)
    assert len(label) <= 63
    assert label[0].isalnum()
    assert label[-1].isalnum()
    assert label.replace("-", "").isalnum()
    assert label.isascii()
    assert (escaped(two) == label) == (one == two)
