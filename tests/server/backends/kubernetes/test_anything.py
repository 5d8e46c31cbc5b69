"""Overlays of any shape: users may be let to write them, and a programme sends what it likes.

Nothing breaks the check; what passes it comes to a pod that fits the schema and keeps what is ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes.overlay import problems
from dask_sluice.server.backends.kubernetes.schema import Checker, kubernetes
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings, PodSettings
from dask_sluice.server.backends.protocol import JobKind

from .cases import CASES, job_of, made_of, settings_of

JOBS = {kind: replace(job_of(settings_of(CASES["worker"].site), CASES["worker"]), kind=kind) for kind in JobKind}
SITE = KubernetesSettings(image="x/y:1")
WORDS = sorted(
    {"name", "mountPath", "append", "requests", "limits", "cpu", "metadata", "operator", "Exists", "sluice-launch"}
    | {*kubernetes()["PodSpec"]["properties"], *kubernetes()["Container"]["properties"], *PodSettings.model_fields}
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["/tmp", "/sluice/x", "a", "Always", "{user.name}", "require", "none", "gke_spot"])
)  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
NAMED = st.fixed_dictionaries({"name": st.sampled_from(["a", "b", "sluice-x"])})
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "labels": st.dictionaries(st.sampled_from(["a", "b/c", "gateway.dask.org/x"]), st.sampled_from(["x", "", "y z"])),
    "spot": st.sampled_from(["never", "allow", "prefer", "require"]),
    "run_as_user": st.sampled_from([0, 5, "none"]),
    "volumes": st.lists(NAMED, max_size=2),
    "volume_mounts": st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["a", "b"]), "mountPath": st.sampled_from(["/a", "/tmp", "/tmp/", "/sluice"])}
        ),
        max_size=2,
    ),
    "writable": st.lists(st.sampled_from(["/a", "/a/", "/tmp", "/b/"]), max_size=2),
    "containers": st.lists(NAMED, max_size=2),
    "pod": st.fixed_dictionaries({}, optional={"hostname": st.just("a"), "tolerations": st.just([{"key": "a"}])}),
    "container": st.fixed_dictionaries({}, optional={"tty": st.booleans(), "env": st.lists(NAMED, max_size=1)}),
}


@given(st.dictionaries(st.sampled_from(["namespace", "pods", "scheduler", "worker", "else"]), JSON, max_size=4) | JSON)
def test_no_overlay_breaks_the_check(overlay: Any) -> None:
    for filled in (False, True):
        for place, what in problems(overlay if isinstance(overlay, dict) else {"worker": overlay}, SITE, filled=filled):
            assert place
            assert what


@given(role=st.fixed_dictionaries({}, optional=LIKELY), kind=st.sampled_from(JobKind))
def test_what_passes_the_check_is_a_pod_that_fits_the_schema_and_keeps_what_is_ours(
    role: dict[str, Any], kind: JobKind
) -> None:
    said = {kind.value: role}
    if list(problems(said, SITE, filled=True)):
        return
    pod, _ = made_of(replace(JOBS[kind], overlay=said), SITE)
    spec = pod["spec"]
    assert list(Checker({}, filled=True).problems(spec, {"$ref": "PodSpec"})) == []
    mounts, volumes = spec["containers"][0]["volumeMounts"], [each["name"] for each in spec["volumes"]]
    assert len({each["mountPath"] for each in mounts}) == len(mounts)
    assert len(set(volumes)) == len(volumes)
    assert {each["name"] for each in mounts} <= set(volumes)
    assert {"/sluice/agent", "/sluice/launch", "/sluice/scratch"} <= {each["mountPath"] for each in mounts}
    assert spec["restartPolicy"] == "Never"
    containers = [each["name"] for each in spec["containers"]]
    assert containers[0] == f"dask-{kind.value}"
    assert len(set(containers)) == len(containers)
