"""A notebook computes where a network enforces both charts' network policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...kubernetes.kube import Kube
from .hub import STEPS, beside
from .images import Images


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.usefixtures("enforced")
def test_notebooks_take_the_seeds_steps_where_policies_of_both_charts_are_enforced(
    kube: Kube, image_name: str, images: Images, tmp_path: Path
) -> None:
    with beside(kube, image_name, images, tmp_path) as hub:
        for user, image, client in (("ada", "ours", "dask_sluice"), ("grace", "stock", "dask_gateway")):
            with hub.log_in(user) as person:
                said = person.notebook(image).run(f"{STEPS}\nprint(main('{client}'))")
                assert "the dashboard answers" in said
                person.leave()
