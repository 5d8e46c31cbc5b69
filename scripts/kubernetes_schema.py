"""Make the schema of pods that settings are checked against, from what a real API server says of itself.

    kubectl get --raw /openapi/v3/api/v1 | python scripts/kubernetes_schema.py

What a pod's spec can hold is kept, without its prose. Later servers know more keys; a key that this one does not know
is refused, so make it anew when Kubernetes moves on.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src/dask_sluice/server/backends/kubernetes/schema.json"
ROOTS = ("io.k8s.api.core.v1.PodSpec",)
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
KEPT = ("type", "enum", "required", "oneOf")
MERGE_KEY = "x-kubernetes-patch-merge-key"


def reduced(document: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that a pod's spec reaches, by short names."""
    schemas = document["components"]["schemas"]
    found: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if short(name) not in found:
            found[short(name)] = _reduced(schemas[name])
            waiting += references(schemas[name])
    found[short(QUANTITY)]["format"] = "quantity"
    return {"kubernetes": document["info"]["version"], "definitions": dict(sorted(found.items()))}


def short(name: str) -> str:
    """`PodSpec` for `io.k8s.api.core.v1.PodSpec`."""
    return name.rpartition(".")[2]


def references(schema: Any) -> Iterator[str]:
    """Every definition that the schema names."""
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for inner in schema.values():
            yield from references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from references(inner)


def _reduced(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": short(schema["$ref"])}
    if "allOf" in schema:  # always one reference, wrapped to bear a description or a default
        (only,) = schema["allOf"]
        return _reduced(only)
    kept: dict[str, Any] = {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        kept["properties"] = {key: _reduced(inner) for key, inner in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            kept[key] = _reduced(schema[key])
    if MERGE_KEY in schema:
        kept["by"] = schema[MERGE_KEY]
    return kept


def written(document: Mapping[str, Any]) -> str:
    """One definition a line: small, and a change shows where it is."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(each, separators=(',', ':'))}"
        for name, each in document["definitions"].items()
    )
    return f'{{"kubernetes": {json.dumps(document["kubernetes"])}, "definitions": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    TARGET.write_text(written(reduced(json.load(sys.stdin))))
