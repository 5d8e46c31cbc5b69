"""Images and variables: what may run, and what may be set."""

from __future__ import annotations

import pytest

from dask_sluice.server.policy.images import wrong_with_image
from dask_sluice.server.policy.variables import wrong_with_name
from dask_sluice.server.settings_policy import Images, VariableRules

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        "dask:1",
        "lab/dask:2025.1.0-rc1",
        "host:5000/name:tag",
        "ghcr.io/a/b/c:v1",
        f"quay.io/x@{DIGEST}",
        "[::1]:5000/x:1",
    ],
)
def test_an_image_with_a_tag_or_digest_is_taken(image: str) -> None:
    assert wrong_with_image(image, Images()) == ""


@pytest.mark.parametrize("image", ["dask", "lab/dask", "host:5000/name", "localhost:5000/a/b"])
def test_a_port_is_no_tag(image: str) -> None:
    assert "must name a tag or digest" in wrong_with_image(image, Images())
    assert wrong_with_image(image, Images(require_tag=False)) == ""


@pytest.mark.parametrize(
    "image", ["", " ", "a b:1", "-x:1", "x:", "X/y:1 --privileged", "a" * 2000, "x:1\n", "{user.name}:1"]
)
def test_what_is_no_image_is_refused(image: str) -> None:
    assert "must be an image such as" in wrong_with_image(image, Images())


def test_only_allowed_images_run() -> None:
    rules = Images(allowed=("registry.example.org/lab/*",))
    assert wrong_with_image("registry.example.org/lab/deep/dask:1", rules) == ""
    assert "must be one of registry.example.org/lab/*" in wrong_with_image("registry.example.org/labs/x:1", rules)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "PYTHONHOME"])
def test_users_may_not_make_a_process_load_something_else_but_administrators_may(name: str) -> None:
    assert "must not be set" in wrong_with_name(name, VariableRules())
    assert wrong_with_name(name, None) == ""


@pytest.mark.parametrize("name", ["SLUICE_LAUNCH", "SLUICE_ANYTHING"])
def test_nobody_sets_the_servers_own(name: str) -> None:
    for rules in (VariableRules(), None):
        assert "belong to dask-sluice" in wrong_with_name(name, rules)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "BASH_FUNC_module%%", "A=B", "É", "A" * 300])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "has a variable" in wrong_with_name(name, None)


def test_an_administrator_says_which_may_be_set() -> None:
    rules = VariableRules(allowed=("GDAL_*", "AWS_*"), denied=("AWS_SECRET_*",))
    assert wrong_with_name("GDAL_CACHEMAX", rules) == ""
    assert "only GDAL_*, AWS_* may be set" in wrong_with_name("PATH", rules)
    assert "AWS_SECRET_* must not be set" in wrong_with_name("AWS_SECRET_ACCESS_KEY", rules)
