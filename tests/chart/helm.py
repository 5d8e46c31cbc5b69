"""Helm for tests: what `helm template` makes of the chart with these values.

`python -m tests.chart.helm` writes the golden files anew; do that if the diff is what you meant.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..conftest import not_here
from ..kubernetes.kube import KIT_DIRECTORY, ROOT, kit

CHART = ROOT / "charts" / "dask-sluice"
HERE = Path(__file__).parent
VALUES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))
GOLDEN = sorted(path.stem for path in (HERE / "golden").glob("*.yaml"))
KUBERNETES = "1.34.0"
NAME = "sluice-dask-sluice"
"""Of what the chart makes for the release `sluice`."""
Documents = list[dict[str, Any]]


class Refused(Exception):
    """Helm refused the values; what it says."""


@cache
def helm() -> str:
    """Path of helm: an installed one, the kit's, or one unpacked from it."""
    if found := shutil.which("helm", path=f"{KIT_DIRECTORY / 'bin'}:/usr/local/bin:/usr/bin"):
        return found
    place = kit()
    if place is None or shutil.which("zstd") is None:
        not_here("helm is not installed, and no shared/kube with one is above this folder", comes_beside=place is None)
    target = ROOT / ".cache" / "helm"
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["zstd", "-dqf", str(place / "helm.zst"), "-o", str(target)], check=True, timeout=60)
    target.chmod(0o755)
    return str(target)


def template(
    values: dict[str, Any], *, release: str = "sluice", chart: Path = CHART, served: tuple[str, ...] = ()
) -> str:
    """What it prints.

    served   what Kubernetes serves beside its own, such as `gateway.networking.k8s.io/v1/TCPRoute`
    raises   Refused
    """
    return _templated(yaml.safe_dump(values), release, chart, served)


@cache
def _templated(values: str, release: str, chart: Path, served: tuple[str, ...]) -> str:
    command = [helm(), "template", release, str(chart), "--namespace", "dask", "--kube-version", KUBERNETES, "-f", "-"]
    command += [f"--api-versions={each}" for each in served]
    done = subprocess.run(command, input=values, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def rendered(values: dict[str, Any], *, release: str = "sluice", chart: Path = CHART) -> Documents:
    """The objects."""
    return [document for document in yaml.safe_load_all(template(values, release=release, chart=chart)) if document]


def pods(documents: Documents) -> Iterator[dict[str, Any]]:
    """The specs of all pods that the objects are or make."""
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield document["spec"]


def one(documents: Documents, kind: str, name: str = "", namespace: str = "") -> dict[str, Any]:
    """The only object of this kind, and name and namespace where they are given."""
    found = [each for each in every(documents, kind) if name in ("", each["metadata"]["name"])]
    found = [each for each in found if namespace in ("", each["metadata"].get("namespace"))]
    assert len(found) == 1, [(each["kind"], each["metadata"]["name"]) for each in documents]
    return found[0]


def every(documents: Documents, kind: str) -> Documents:
    return [each for each in documents if each["kind"] == kind]


def rights(*names: str) -> list[dict[str, Any]]:
    """Rules of the Role where each cluster has a network policy; and those of further `names`."""
    files = ("rights", "rights-isolation", *names)
    return [rule for name in files for rule in json.loads((CHART / "files" / f"{name}.json").read_text())]


def server_config(documents: Documents) -> str:
    """The file that the server reads."""
    config: str = one(documents, "Secret", "sluice-dask-sluice-server")["stringData"]["config.yaml"]
    return config


def values_of(name: str) -> dict[str, Any]:
    """One of the files in values/."""
    return dict(yaml.safe_load((HERE / "values" / f"{name}.yaml").read_text()))


def golden(name: str) -> tuple[str, Path]:
    """What the chart makes of one of the files in values/, and where that is kept."""
    return template(values_of(name)), HERE / "golden" / f"{name}.yaml"


if __name__ == "__main__":
    for each in GOLDEN:
        text, path = golden(each)
        path.write_text(text)
