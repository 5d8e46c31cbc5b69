"""A real API server takes each object that the chart writes, whatever is switched on: its own kinds, and those of the
Gateway API and the Prometheus operator as these projects define them. It refuses a field that it does not know, so
none is misspelt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import not_here
from ..kubernetes.kube import Kube
from .helm import HERE, VALUES, Documents, template, values_of
from .release import RESTRICTED

pytestmark = pytest.mark.real
DEFINITIONS = sorted((HERE / "custom_resources").glob("*.json"))
"""Written by scripts/custom_resources.py."""
SERVED = {version: (f"gateway.networking.k8s.io/{version}/TCPRoute",) for version in ("v1alpha2", "v1")}


@pytest.fixture(scope="module")
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace in a Kubernetes that knows the kinds of others: the kit's is told; somebody else's is left alone."""
    files = [f"--filename={path}" for path in DEFINITIONS]
    if kube.directory is None:
        if kube.run("get", *files, "-o", "name", check=False).count("\n") != len(DEFINITIONS):
            not_here("the kinds of Gateway API and Prometheus operator: kubectl apply -f tests/chart/custom_resources")
    else:
        kube.run("apply", "--server-side", "--force-conflicts", *files)
        kube.run("wait", "--for=condition=Established", "--timeout=60s", *files)
    with kube.namespace("sluice-schemas", **RESTRICTED) as name:
        yield name


def documents(values: dict[str, Any], served: tuple[str, ...] = ()) -> Documents:
    """All that the chart makes, with no namespace."""
    found = [each for each in yaml.safe_load_all(template(values, served=served)) if each]
    for each in found:
        each["metadata"].pop("namespace", None)
    return found


def answer(kube: Kube, namespace: str, objects: Documents, file: Path) -> str:
    """What the API server would say to each."""
    file.write_text(yaml.safe_dump_all(objects))
    return kube.said("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", str(file))


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("name", VALUES)
def test_the_api_server_takes_every_object_as_it_stands(
    kube: Kube, namespace: str, tmp_path: Path, name: str, served: str
) -> None:
    objects = documents(values_of(name), SERVED[served])
    said = answer(kube, namespace, objects, tmp_path / "objects.yaml")
    assert said.count("created (server dry run)") == len(objects), said
    assert "Error" not in said


def test_it_refuses_each_object_with_a_field_that_it_does_not_know(kube: Kube, namespace: str, tmp_path: Path) -> None:
    objects = documents(values_of("everything"))
    assert {"HTTPRoute", "TCPRoute", "ServiceMonitor", "NetworkPolicy", "Ingress"} <= {each["kind"] for each in objects}
    for each in objects:
        each.get("spec", each)["misspelt"] = {}
    said = answer(kube, namespace, objects, tmp_path / "objects.yaml")
    assert "created" not in said
    assert len(re.findall(r'unknown field "(spec\.)?misspelt"', said)) == len(objects), said
