"""A real Kubernetes with the image of this source, where the tests of the chart need them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import not_here
from ..kubernetes.kube import Kube, NotThere
from .release import RESTRICTED, Release, image_there


@pytest.fixture(scope="session")
def image_name(kube: Kube) -> str:
    try:
        return image_there(kube)
    except NotThere as error:
        not_here(str(error))


@pytest.fixture
def release(kube: Kube, image_name: str) -> Iterator[Release]:
    """Not installed yet: the test has a say in its values. Its namespace enforces Pod Security `restricted`."""
    with kube.namespace("sluice-chart", **RESTRICTED) as namespace:
        yield Release(kube, namespace, image_name)
