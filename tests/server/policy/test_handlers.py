"""Seven families of option handlers that sites write in Python today, as settings: each user's choice and its outcome.

`handlers/NAME.yaml` is a configuration as it stands (`dask-sluice check-config` reads it), `NAME.cases.yaml` who
chooses what, `NAME.golden.yaml` what they get. After a change: `python -m tests.server.policy.test_handlers`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice.server.backends.kubernetes.preview import pods_of
from dask_sluice.server.backends.kubernetes.quantities import number
from dask_sluice.server.backends.kubernetes.schema import Checker
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy, Resolved
from dask_sluice.server.settings import load
from dask_sluice.server.settings_schema import Settings
from dask_sluice.wire.errors import SluiceError

HANDLERS = Path(__file__).parent / "handlers"
FAMILIES = sorted(file.name.removesuffix(".cases.yaml") for file in HANDLERS.glob("*.cases.yaml"))


def resolved(settings: Settings, case: dict[str, Any]) -> Resolved:
    caller = Caller(case["user"], groups=tuple(case.get("groups", ())))
    policy = Policy.of(settings, None)
    offered = policy.offer(caller)
    return policy.settle(caller, "cluster", offered, offered.choose(case["options"]))


def outcome(settings: Settings, case: dict[str, Any]) -> dict[str, Any]:
    try:
        result = resolved(settings, case)
    except SluiceError as error:
        return {**case, "refused": error.message}
    spec = {key: value for key, value in asdict(result.spec).items() if value not in ("", {}, ())}
    spec["worker"] = asdict(result.spec.worker)
    del spec["name"], spec["prices"], spec["worker_groups"]  # no handler decides these
    secrets = {"secret_variables": sorted(result.secret_variables)} if result.secret_variables else {}
    return {**case, "gets": {**spec, "groups": list(result.spec.groups), **secrets}}


def cases(family: str) -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = yaml.safe_load((HANDLERS / f"{family}.cases.yaml").read_text())
    return given


def outcomes(family: str) -> list[dict[str, Any]]:
    settings = load(HANDLERS / f"{family}.yaml")
    return [outcome(settings, case) for case in cases(family)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_handlers_is_expressed_in_settings(family: str) -> None:
    golden = yaml.safe_load((HANDLERS / f"{family}.golden.yaml").read_text())
    assert outcomes(family) == golden


def test_there_are_seven_families() -> None:
    assert len(FAMILIES) == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_comes_to_is_pods_that_kubernetes_would_take(family: str) -> None:
    settings = load(HANDLERS / f"{family}.yaml")
    for case in cases(family):
        with suppress(SluiceError):  # those that are refused are in the golden file
            spec = resolved(settings, case).spec
            for pod, size in zip(
                pods_of(spec, settings.backend.kubernetes), (spec.scheduler, spec.worker), strict=True
            ):
                assert list(Checker({}, filled=True).problems(pod["spec"], {"$ref": "PodSpec"})) == []
                assert pod["metadata"]["annotations"]["hub.jupyter.org/username"] == case["user"]
                amounts = pod["spec"]["containers"][0]["resources"]
                assert amounts["limits"]["cpu"] == f"{round(1000 * size.cores)}m"
                for resource, most in amounts["limits"].items():
                    assert number(amounts["requests"][resource]) <= number(most)


def test_no_secret_of_a_case_is_in_its_outcome() -> None:
    for family in ("rspy", "rhodium"):
        assert "hunter2" not in repr([case.get("gets") for case in outcomes(family)])


def write() -> None:
    for family in FAMILIES:
        text = yaml.safe_dump(outcomes(family), sort_keys=False, width=116)
        (HANDLERS / f"{family}.golden.yaml").write_text(text)


if __name__ == "__main__":
    write()
