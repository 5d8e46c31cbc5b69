"""The examples of docs/kubernetes.md are configurations, and do what the page says; the pod that it shows is ours.

After a change of the golden files, `python -m tests.server.backends.kubernetes.test_docs` writes the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes.syntax import is_name
from dask_sluice.server.backends.protocol import JobKind
from dask_sluice.server.settings import Settings, describe
from dask_sluice.server.settings_file import SettingsError, loads

from .cases import Case, golden, made

PAGE = Path(__file__).parents[4] / "docs" / "kubernetes.md"
SHOWN = re.compile(r"(<!-- golden: ([\w-]+) -->\n```yaml\n)(.*?)(^```)", re.MULTILINE | re.DOTALL)
EXAMPLES = re.findall(r"(?<!-->\n)^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TOLERATED = {"key": "lab/site", "operator": "Exists"}


def pod(block: int, user: str = "ada", kind: JobKind = JobKind.WORKER, **options: Any) -> dict[str, Any]:
    return made(Case(EXAMPLES[block], user, options, kind))[0]


@pytest.mark.parametrize("block", range(len(EXAMPLES)))
def test_every_example_is_a_configuration_with_which_pods_start(block: int) -> None:
    for user in ("ada", "Grace.Hopper@example.org"):
        for kind in JobKind:
            assert is_name(pod(block, user, kind)["metadata"]["namespace"])


def test_the_pod_on_the_page_is_the_golden_one() -> None:
    ((_, name, text, _),) = SHOWN.findall(PAGE.read_text())
    assert text == golden(name).read_text()


def test_the_mistake_on_the_page_is_told_in_these_words() -> None:
    (told,) = re.findall(r"```text\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    text = "backend:\n  kind: kubernetes\n  kubernetes:\n    worker:\n      pod:\n        node_selector: {a: b}\n"
    with pytest.raises(SettingsError) as caught:
        loads(text, Path("sluice.yaml"))
    assert caught.value.problems == [told]


def test_the_layers_do_what_the_page_says() -> None:
    spec = pod(2, profile="batch", fast_disk=True)["spec"]
    assert spec["nodeSelector"] == {"disk": "nvme"}
    assert spec["tolerations"][-2:] == [TOLERATED, {"key": "lab/nvme", "operator": "Exists"}]
    assert spec["priorityClassName"] == "batch"
    assert spec["securityContext"]["runAsUser"] == 1001
    assert spec["containers"][0]["volumeMounts"][1] == {"name": "homes", "mountPath": "/home/ada", "subPath": "ada"}
    grace = pod(2, "grace", profile="small")["spec"]
    assert grace["securityContext"]["runAsUser"] == 1000
    gpu = pod(2, "grace", profile="gpu")["spec"]
    assert gpu["nodeSelector"] == {"pool": "gpu"}
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_listing_of_settings_says_of_pods_what_the_file_says_and_nothing_of_other_backends() -> None:
    listed = describe(loads(EXAMPLES[2], Path("sluice.yaml"))).splitlines()
    assert [line for line in listed if line.startswith(("backend.kubernetes.worker", "backend.kubernetes.pods"))] == [
        "backend.kubernetes.pods = {}",
        'backend.kubernetes.worker.tolerations = [{"key": "lab/site", "operator": "Exists"}]',
    ]
    assert not [line for line in listed if line.startswith(("backend.local", "backend.fake"))]
    assert "backend.local.stop_grace_s = 3.0" in describe(Settings()).splitlines()


def test_the_namespaces_are_those_on_the_page() -> None:
    assert pod(3, profile="own")["metadata"]["namespace"] == "dask-ada"
    assert pod(3, profile="shared")["metadata"]["namespace"] == "dask-shared-gpu"


def test_the_part_of_a_node_is_the_one_on_the_page() -> None:
    found = pod(4, profile="quarter")["spec"]["containers"][0]["resources"]
    assert (found["limits"]["cpu"], found["requests"]["cpu"]) == ("4000m", "3850m")
    assert round(int(found["limits"]["memory"]) / 2**30, 1) == 30.4


def test_homes_and_identities_go_by_who_somebody_is() -> None:
    for user, groups, account, uid in (("ada", ("ice",), "dask-ice", 1001), ("grace", (), "dask-reader", 1000)):
        spec = made(Case(EXAMPLES[5], user, groups=groups))[0]["spec"]
        assert spec["serviceAccountName"] == account
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsUser"] == uid
        (home,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "homes")
        assert (home["mountPath"], home["subPath"]) == (f"/home/{user}", user)
    scheduler = pod(5, kind=JobKind.SCHEDULER)["spec"]
    assert "serviceAccountName" not in scheduler


def write() -> None:
    text = SHOWN.sub(lambda found: found[1] + golden(found[2]).read_text() + found[4], PAGE.read_text())
    PAGE.write_text(text)


if __name__ == "__main__":
    write()
