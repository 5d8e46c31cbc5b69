"""What is to wait is worked out by the policy that works out everybody's clusters, and a wish that makes no sense is
refused with its place.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dask_sluice.server.backends.kubernetes.warm import pods
from dask_sluice.server.backends.protocol import Job
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.settings_file import loads
from dask_sluice.server.startup import CannotStart
from dask_sluice.server.warm_jobs import _job, warm_jobs

from .backends.kubernetes import cases

SITE = """
    backend:
      kind: kubernetes
      kubernetes:
        image: registry.test/dask:test
        warm_schedulers: {wishes}
    options:
      team: {{type: string, default: lab}}
      probes:
        type: bool
        when: {{"true": {{backend: {{scheduler: {{startup_probe: {{tcpSocket: {{port: dask}}}}}}}}}}}}
    policy:
      everyone: {{backend: {{pods: {{labels: {{team: "{{options.team}}"}}}}}}}}
    profiles:
      small: {{scheduler: {{cores: 1, memory: 1 GiB}}}}
      large: {{scheduler: {{cores: 4, memory: 8 GiB}}, scheduler_image: "registry.test/large:1", groups: [staff]}}
      private: {{users: [ada]}}
    """


def site(wishes: str, text: str = SITE) -> str:
    return dedent(text).format(wishes=wishes)


def jobs(wishes: str, text: str = SITE) -> list[tuple[Job, int]]:
    settings = loads(site(wishes, text), Path("sluice.yaml"))
    return warm_jobs(settings, Policy.of(settings, None))


def shape(job: Job) -> str:
    kubernetes = loads(site("[]"), Path("sluice.yaml")).backend.kubernetes
    return pods.shape_of(job, kubernetes, namespace="hub", agent="a", key=b"k")


def test_by_default_none_waits() -> None:
    assert jobs("[]") == []


def test_what_waits_is_what_somebody_who_chooses_the_same_would_get() -> None:
    ((small, two), (large, one), (ice, _)) = jobs(
        "[{count: 2, profile: small}, {count: 1, profile: large}, {count: 1, profile: small, options: {team: ice}}]"
    )
    assert (two, one) == (2, 1)
    assert (small.size.cores, large.size.cores) == (1, 4)
    assert (small.image, large.image) == ("registry.test/dask:test", "registry.test/large:1")
    settings = loads(site("[]"), Path("sluice.yaml"))

    def of(options: dict[str, str]) -> str:
        policy, caller = Policy.of(settings, None), Caller("ada", groups=("staff",))
        offered = policy.offer(caller)
        return shape(_job(policy.settle(caller, "ada.1", offered, offered.choose(options)).spec))

    assert shape(small) == of({"profile": "small"})
    assert shape(large) == of({"profile": "large"})
    assert shape(ice) == of({"profile": "small", "team": "ice"})
    assert len({shape(small), shape(large), shape(ice)}) == 3


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ("{count: 1, profile: smal}", "profile"),
        ("{count: 1, profile: private}", "profile"),
        ("{count: 1, profile: small, options: {worker_coers: 2}}", "worker_coers"),
        ("{count: 1, profile: small, options: {probes: true}}", "startup_probe asks a scheduler"),
    ],
)
def test_a_wish_that_makes_no_sense_keeps_the_server_from_starting(wish: str, says: str) -> None:
    with pytest.raises(CannotStart) as refused:
        jobs(f"[{{count: 1, profile: small}}, {wish}]")
    assert str(refused.value).startswith("backend.kubernetes.warm_schedulers[1]: ")
    assert says in str(refused.value)


def test_nothing_waits_in_namespaces_of_users() -> None:
    text = cases.PER_USER.replace("image:", "warm_schedulers: {wishes}\n        image:")
    text = text.replace("{user.escaped}", "{{user.escaped}}").replace("own: {}", "own: {{}}")
    text = text.replace("{backend: {namespace: dask-shared-gpu}}", "{{backend: {{namespace: dask-shared-gpu}}}}")
    with pytest.raises(CannotStart, match="in nobody's"):
        jobs("[{count: 1, profile: own}]", text)
    assert len(jobs("[{count: 1, profile: shared}]", text)) == 1
