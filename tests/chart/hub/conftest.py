"""A hub and a release of ours beside each other in a real Kubernetes, joined as docs/jupyterhub.md says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.environments import EnvironmentFailed

from ...conftest import not_here
from ...kubernetes.kube import Kube, NotThere
from .hub import HubRelease, beside
from .images import Images, images_there


@pytest.fixture(scope="session")
def images(kube: Kube) -> Images:
    try:
        return images_there(kube)
    except (NotThere, EnvironmentFailed) as error:
        not_here(str(error))


@pytest.fixture(scope="module")
def hub(kube: Kube, image_name: str, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubRelease]:
    """Shared by the tests of a file."""
    with beside(kube, image_name, images, tmp_path_factory.mktemp("hub")) as hub:
        yield hub
