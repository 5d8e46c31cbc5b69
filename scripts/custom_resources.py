"""Fetch the definitions of kinds that the chart makes and Kubernetes itself does not know, for a test's API server.

    python scripts/custom_resources.py       # needs Go, whose module proxy has them; after a change of a version here

They are what the projects publish (Apache-2.0), without their prose and with the versions only that the chart writes.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parent.parent / "tests/chart/custom_resources"
GATEWAY_API = ("sigs.k8s.io/gateway-api", "v1.6.3", "config/crd")
PROMETHEUS = (
    "github.com/prometheus-operator/prometheus-operator",
    "v0.85.0",
    "example/prometheus-operator-crd/monitoring.coreos.com_",
)
# Of TCPRoute the experimental channel: it serves both versions, the standard one of 1.6 only v1, that of 1.5 none.
WANTED: Mapping[str, tuple[tuple[str, str, str], str, tuple[str, ...]]] = {
    "httproutes": (GATEWAY_API, "/standard/gateway.networking.k8s.io_", ("v1",)),
    "tcproutes": (GATEWAY_API, "/experimental/gateway.networking.k8s.io_", ("v1", "v1alpha2")),
    "servicemonitors": (PROMETHEUS, "", ("v1",)),
}
"""By name of the resource: where it is, and which versions are kept."""


def definitions() -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of resources and their definitions, as the test's API server gets them."""
    for name, ((module, version, path), more, versions) in WANTED.items():
        document = yaml.safe_load(Path(f"{fetched(module, version)}/{path}{more}{name}.yaml").read_text())
        document["spec"]["versions"] = [each for each in document["spec"]["versions"] if each["name"] in versions]
        yield name, without_prose(document)


def fetched(module: str, version: str) -> Path:
    """The folder with this version of a module."""
    command = ["go", "mod", "download", "-json", f"{module}@{version}"]
    with tempfile.TemporaryDirectory() as elsewhere:  # not within some module of the caller's
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=elsewhere, timeout=300)
    return Path(json.loads(done.stdout)["Dir"])


def without_prose(value: Any) -> Any:
    """The same without descriptions; a property may be called so."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key != "description" or not isinstance(each, str)}
        return {key: without_prose(each) for key, each in kept.items()}
    return [without_prose(each) for each in value] if isinstance(value, list) else value


def written(document: Mapping[str, Any]) -> str:
    """One version a line: small, and a change shows where it is."""
    head = {**document, "spec": {**document["spec"], "versions": []}}
    versions = ",\n".join(json.dumps(each, separators=(",", ":")) for each in document["spec"]["versions"])
    return json.dumps(head, separators=(",", ":")).replace('"versions":[]', f'"versions":[\n{versions}\n]') + "\n"


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for resource, definition in definitions():
        (TARGET / f"{resource}.json").write_text(written(definition))
