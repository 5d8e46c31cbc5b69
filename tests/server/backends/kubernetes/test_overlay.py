"""What policy says of pods: one rule for how layers merge; a mistake is told with its line, its key and the right one.

Maps merge; items of lists that have names take the place of the one of that name; other lists replace, unless they are
appended; null takes away. `pods` of a layer lies under its `scheduler` and `worker`, and over all lower layers.
"""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes.backend import KubernetesBackend
from dask_sluice.server.backends.kubernetes.overlay import list_key
from dask_sluice.server.backends.kubernetes.schema import kubernetes, merge_keys
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import ChecksOverlays
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy, Resolved
from dask_sluice.server.settings_file import SettingsError, loads
from dask_sluice.server.settings_policy import Setup
from dask_sluice.wire.errors import RequestInvalid

from .cases import FILE


def resolved(text: str, given: dict[str, Any] | None = None, user: str = "ada") -> Resolved:
    settings = loads(dedent(text), FILE)
    policy, caller = Policy.of(settings, None), Caller(user)
    offered = policy.offer(caller)
    return policy.settle(caller, "ada-1", offered, offered.choose(given or {}))


def refused(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loads(dedent(text), FILE)
    return caught.value.problems


IMAGE = "backend: {kind: kubernetes, kubernetes: {image: 'x/y:1'}}\n"
SITE = """
    backend:
      kind: kubernetes
      kubernetes:
        image: x/y:1
        pods:
          node_selector: {pool: dask, disk: ssd}
          tolerations: [{key: site}]
          volumes: [{name: home, persistentVolumeClaim: {claimName: home}}, {name: data, emptyDir: {}}]
          image_pull_secrets: [site]
          pod: {hostAliases: [{ip: 10.0.0.1, hostnames: [a]}], dnsConfig: {searches: [a]}}
        worker: {node_selector: {pool: workers}, python: /opt/site/python}
    options:
      big: {type: bool, when: {"true": {backend: {worker: {node_selector: {pool: big}}}}}}
    profiles:
      more:
        backend:
          pods:
            node_selector: {disk: null, zone: "a"}
            tolerations: {append: [{key: profile}]}
            volumes: [{name: home, emptyDir: {}}, {name: new, emptyDir: {}}]
            image_pull_secrets: [profile, site]
            pod: {hostAliases: [{ip: 10.0.0.1, hostnames: [b]}], dnsConfig: {searches: [b]}}
            python: /opt/profile/python
          worker: {node_selector: {pool: heavy}, tolerations: {append: [{key: worker}]}}
      less: {backend: {pods: {tolerations: [{key: only}], volumes: null, node_selector: null}}}
    """


def test_maps_merge_and_null_takes_a_key_away() -> None:
    backend = resolved(SITE, {"profile": "more"}).spec.backend
    assert backend["scheduler"]["node_selector"] == {"pool": "dask", "zone": "a"}
    assert backend["worker"]["node_selector"] == {"pool": "heavy", "zone": "a"}
    less = resolved(SITE, {"profile": "less"}).spec.backend
    assert "node_selector" not in less["scheduler"]
    assert "volumes" not in less["worker"]


def test_an_item_takes_the_place_of_the_one_with_its_name() -> None:
    backend = resolved(SITE, {"profile": "more"}).spec.backend
    for role in ("scheduler", "worker"):
        assert backend[role]["volumes"] == [
            {"name": "home", "emptyDir": {}},
            {"name": "data", "emptyDir": {}},
            {"name": "new", "emptyDir": {}},
        ]
        assert backend[role]["pod"]["hostAliases"] == [{"ip": "10.0.0.1", "hostnames": ["b"]}]
        assert backend[role]["image_pull_secrets"] == ["site", "profile"]


def test_other_lists_replace_unless_they_are_appended() -> None:
    more, less = (resolved(SITE, {"profile": name}).spec.backend for name in ("more", "less"))
    assert more["scheduler"]["tolerations"] == [{"key": "site"}, {"key": "profile"}]
    assert more["worker"]["tolerations"] == [{"key": "site"}, {"key": "profile"}, {"key": "worker"}]
    assert less["worker"]["tolerations"] == [{"key": "only"}]
    assert more["worker"]["pod"]["dnsConfig"] == {"searches": ["b"]}


def test_a_higher_layers_word_for_both_goes_before_a_lower_ones_for_one() -> None:
    assert resolved(SITE, {"profile": "more"}).spec.backend["worker"]["python"] == "/opt/profile/python"
    assert resolved(SITE, {"profile": "less"}).spec.backend["worker"]["python"] == "/opt/site/python"


def test_an_option_goes_before_the_profile_and_the_plan_says_who_said_what() -> None:
    result = resolved(SITE, {"profile": "more", "big": True})
    assert result.spec.backend["worker"]["node_selector"]["pool"] == "big"
    sources = {value.key: value.source for value in result.plan.values}
    assert sources["backend.worker.node_selector.pool"] == "option big"
    assert sources["backend.scheduler.node_selector.pool"] == "backend.kubernetes"
    assert sources["backend.worker.volumes"] == "backend.kubernetes + profile more"


def test_lists_have_names_where_kubernetes_says_so() -> None:
    """What `kubectl patch` merges by, we do; there are no others, and it is the same key wherever a list stands."""
    found: dict[str, set[str]] = {}
    for kind in ("PodSpec", "Container", "EphemeralContainer"):
        for key, schema in kubernetes()[kind]["properties"].items():
            if "by" in schema:
                found.setdefault(key, set()).add(schema["by"])
    assert found == {key: {by} for key, by in merge_keys().items()}
    assert list_key(("worker", "volume_mounts")) == list_key(("worker", "container", "volumeMounts")) == "mountPath"
    assert list_key(("worker", "tolerations")) == ""


HEAD = "backend:\n  kind: kubernetes\n  kubernetes: {other_namespaces: [dask-*]}\nprofiles:\n  p:\n    backend:\n"


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        # d.2: underscores among Kubernetes' own keys, and the other way round
        ("worker: {pod: {node_selector: {a: b}}}",
         "worker.pod.node_selector: unknown key 'node_selector'. Did you mean 'nodeSelector'?"),
        ("worker: {nodeSelector: {a: b}}",
         "worker.nodeSelector: unknown key 'nodeSelector'. Did you mean 'node_selector'?"),
        ("worker: {container: {volume_mounts: []}}", "Did you mean 'volumeMounts'?"),
        ("pods: {volumes: [{name: a, persistentVolumeClaim: {claim_name: a}}]}", "Did you mean 'claimName'?"),
        ("pods: {tolerations: [{key: a, operator: exists}]}",
         "tolerations.0.operator: must be one of 'Equal', 'Exists'; got \"exists\". Did you mean 'Exists'?"),
        # d.1: right keys at the wrong place
        ("node_selector: {a: b}", "It belongs under 'pods', 'scheduler' or 'worker', written 'node_selector'."),
        ("nodeSelector: {a: b}", "It belongs under 'pods', 'scheduler' or 'worker', written 'node_selector'."),
        ("workers: {}", "unknown key 'workers'. Did you mean 'worker'?"),
        ("worker: {pod: {volumeMounts: []}}", "written 'volume_mounts'"),
        ("worker: {pod: {runAsUser: 1}}", "written 'run_as_user'"),
        ("worker: {container: {topologySpreadConstraints: []}}", "It belongs under 'pod'."),
        ("worker: {lifecycle: {}}", "It belongs under 'container'."),
        ("worker: {pod: {seLinuxOptions: {}}}",
         "It belongs under 'pod.securityContext' or 'container.securityContext'."),
        ("worker: {nothingLikeIt: 1}", "unknown key 'nothingLikeIt'. Known: labels, annotations,"),
        # values of another kind
        ("pods: {node_selector: {a: true}}", 'node_selector.a: must be text; got true: write "true"'),
        ("pods: {annotations: {prometheus.io/port: 8787}}", 'must be text; got 8787: write "8787"'),
        ("pods: {run_as_user: ada}", "run_as_user: must be a whole number, at least 0 or 'none'; got \"ada\""),
        ("pods: {run_as_user: true}", "must be a whole number, at least 0 or 'none'; got true"),
        ("pods: {prometheus_port: 99999}", "must be a whole number from 0 to 65535; got 99999"),
        ("pods: {stop_grace_s: 1.5}", "must be a whole number; got 1.5"),
        ("pods: {volumes: {name: a}}", "volumes: must be a list; got"),
        ("pods: {volumes: [home]}", 'volumes.0: must be keys with values; got "home"'),
        ("pods: {volumes: [{emptyDir: {}}]}", "volumes.0: name is missing"),
        ("pods: {volumes: [{name: a}, {name: a}]}", "volumes.1: name 'a' is given twice"),
        ("pods: {volumes: {append: [{nam: a}]}}", "volumes.append.0.nam: unknown key 'nam'. Did you mean 'name'?"),
        ("pods: {volumes: [{name: a, emptyDir: {sizeLimit: 10 GB}}]}",
         "must be an amount such as '500m' or '2Gi'; got \"10 GB\""),
        ("pods: {image_pull_policy: always}", "Did you mean 'Always'?"),
        ("pods: {tolerate: [gke-spot]}", "tolerate.0: must be one of 'hub_user', 'gke_spot'"),
        ("pods: {spot: sometimes}", "must be one of 'never', 'allow', 'prefer', 'require'"),
        ("pods: {writable: [tmp]}", "writable.0: must be an absolute path, neither / nor in /sluice; got 'tmp'"),
        ("pods: 3", "pods: must be keys with values; got 3"),
        ("pods: {startup_probe: {httpGet: {path: /}}}", "startup_probe.httpGet: port is missing"),
        # labels that Kubernetes would refuse only when a user's pod is made
        ("pods: {labels: {team: 'a b'}}",
         "labels.team: must be letters, digits and - _ . only, at most 63 of them; got 'a b'"),
        ("pods: {labels: {'te am': a}}", "labels.te am: cannot be a key"),
        ("pods: {node_selector: {Example.org/x: a}}", "cannot be a key"),
        # ours
        ("pods: {labels: {gateway.dask.org/cluster: x}}", "is a key that dask-sluice sets itself"),
        ("pods: {labels: {hub.jupyter.org/username: x}}", "is a key that dask-sluice sets itself"),
        ("scheduler: {spot: allow}", "schedulers never run on spot nodes"),
        ("scheduler: {node_selector: {karpenter.sh/capacity-type: spot}}", "schedulers never run on spot nodes"),
        ("pods: {node_selector: {cloud.google.com/gke-spot: 'true'}}", "For workers: 'spot: require' under 'worker'"),
        ("pods: {pod: {restartPolicy: Always}}", "is always Never"),
        ("pods: {pod: {hostNetwork: true}}", "two pods on one node would want the same ports"),
        ("pods: {pod: {containers: []}}",
         "ours is described by 'container', further ones by 'containers' beside 'pod'"),
        ("pods: {container: {image: x}}", "is set by 'image' of a profile or an option"),
        ("pods: {container: {resources: {limits: {cpu: 2}}}}", "is set by 'cores' of a profile or an option"),
        ("pods: {container: {resources: {requests: {memory: 2Gi}}}}", "is set by 'memory_request' of a profile"),
        ("pods: {container: {env: [{name: SLUICE_LAUNCH, value: x}]}}", "SLUICE_LAUNCH belongs to dask-sluice"),
        ("pods: {volume_mounts: [{name: x, mountPath: /sluice/launch}]}", "/sluice belongs to dask-sluice"),
        ("pods: {volumes: [{name: sluice-launch}]}", "names with sluice- belong to dask-sluice"),
        # namespaces
        ("namespace: kube-system", "'kube-system' is not among backend.kubernetes.other_namespaces (dask-*)"),
        ("namespace: Dask", "must be a namespace: a-z, 0-9 and - only, at most 63 of them; got 'Dask'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_the_right_key(overlay: str, words: str) -> None:
    problems = refused(f"{HEAD}      {overlay}\n")
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{FILE}, line 7: profiles.p.backend.")
    assert words in problems[0]


@pytest.mark.parametrize(
    "overlay",
    [
        "pods: {labels: {team: '{user.group}'}, run_as_user: '{0 + 1000}', tolerations: '{user.groups}'}",
        "pods: {volumes: null, python: null, node_selector: {a: null}}",
        "'{user.name}'",
        "pods: '{user.name}'",
        "namespace: 'dask-{user.escaped}'",
        "namespace: dask-gpu",
        "pods: {container: {resources: {requests: {ephemeral-storage: 5Gi, example.org/fpga: 1}}}}",
        "pods: {pod: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}}",
        "worker: {volume_mounts: [{name: x, mountPath: /sluices}]}",
        "worker: {node_selector: {cloud.google.com/gke-spot: 'true'}}",
        "pods: {node_selector: {karpenter.sh/capacity-type: on-demand}}",
    ],
)
def test_what_is_right_or_only_known_later_is_taken_at_the_start(overlay: str) -> None:
    loads(f"{HEAD}      {overlay}\n" if ":" in overlay else HEAD.rstrip() + f" {overlay}\n", FILE)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("worker: {nodeSelector: {a: b}}", 4, "Did you mean 'node_selector'?"),
        ("gpu: {tolerations: [{Key: a}]}", 4,
         "backend.kubernetes.gpu.tolerations.0.Key: unknown key 'Key'. Did you mean 'key'?"),
        ("pods: {pod: {node_selector: {a: b}}}", 4,
         "backend.kubernetes.pods.pod.node_selector: unknown key 'node_selector'. Did you mean 'nodeSelector'?"),
        ("scheduler: {spot: prefer}", 4, "schedulers never run on spot nodes"),
        ("namespace: dask_x", 4,
         "namespace: must be a namespace such as 'dask', or 'dask-{user.escaped}'; got 'dask_x'"),
        ("namespace: 'dask-{user.name}'", 4, "must be a namespace such as 'dask'"),
        ("instance: a b", 4, "instance: must be the value of a label"),
        ("user_label: '@'", 4, "user_label: must be the key of a label such as 'hub.jupyter.org/username'"),
        ("pods: {writable: [/]}", 4, "must be an absolute path, neither / nor in /sluice; got '/'"),
        ("pods: {labels: {a: '{user.nam}'}}", 4, "Did you mean {user.name}?"),
        ("image: host:5000/dask", 4, "backend.kubernetes.image: must name a tag or digest"),
        ("gpu: {node_selector: {a: '{user.name}'}}", 4, "gpu.node_selector.a: must be letters, digits and - _ ."),
        ("imagePullSecrets: [a]", 4, "unknown key 'imagePullSecrets' in backend.kubernetes"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_backends_own_section_is_told_the_same_way(text: str, line: int, words: str) -> None:
    problems = refused(f"backend:\n  kind: kubernetes\n  kubernetes:\n    {text}\n")
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{FILE}, line {line}: ")
    assert words in problems[0]


@pytest.mark.parametrize(
    ("sets", "given", "words"),
    [
        ("{worker: {labels: {team: '{options.x}'}}}", "a b",
         "backend.worker.labels.team: must be letters, digits and - _ ."),
        ("{worker: {run_as_user: '{options.x}'}}", "root", "backend.worker.run_as_user: must be a whole number"),
        ("{namespace: '{options.x}'}", "kube-system", "backend.namespace: 'kube-system' is not among"),
        ("{worker: {writable: ['{options.x}']}}", "/sluice/x", "backend.worker.writable.0: must be an absolute path"),
        ("{worker: {labels: {'{options.x}': a}}}", "x", "backend.worker.labels.{options.x}: cannot be a key"),
    ],
)  # fmt: skip
def test_what_a_user_makes_of_a_template_is_refused_when_they_ask_and_names_the_option(
    sets: str, given: str, words: str
) -> None:
    site = f"{IMAGE}options:\n  x: {{type: string, default: a, sets: {{backend: {sets}}}}}\n"
    try:
        resolved(site, {"x": given})
    except (RequestInvalid, SettingsError) as error:
        assert words in str(error)
        assert "option" in str(error)
    else:
        pytest.fail("was taken")


def test_the_backends_own_section_takes_templates_as_all_of_policy_does() -> None:
    site = """
        backend:
          kind: kubernetes
          kubernetes:
            image: x/y:1
            pods: {labels: {who: "{user.escaped}", team: "{options.team}"}, annotations: {raw: "{{a}}"}}
        options: {team: {type: string, default: ice}}
        """
    labels = resolved(site, user="a@b").spec.backend["worker"]["labels"]
    assert labels == {"who": "a-40b", "team": "ice"}
    assert resolved(site).spec.backend["worker"]["annotations"] == {"raw": "{a}"}
    with pytest.raises(RequestInvalid, match=r"backend\.worker\.labels\.team: .* \(from backend\.kubernetes\)"):
        resolved(site, {"team": "a b"})


def test_a_cluster_without_an_image_is_refused_when_it_is_asked_for() -> None:
    site = "backend: {kind: kubernetes}\noptions: {i: {type: string, default: '', sets: {image: '{options.i}'}}}\n"
    with pytest.raises(RequestInvalid, match=r"no image is set: choose one, or have .* set backend\.kubernetes\.image"):
        resolved(site)
    assert resolved(site, {"i": "a/b:1"}).spec.image == "a/b:1"
    assert resolved(site.replace("kubernetes}", "kubernetes, kubernetes: {image: 'x/y:1'}}")).spec.image == "x/y:1"


def test_a_hook_gives_a_user_their_numbers_and_is_held_to_the_same_keys() -> None:
    settings = loads(IMAGE + "policy: {everyone: {backend: {pods: {run_as_user: 1}}}}\n", FILE)
    policy, caller = Policy.of(settings, None), Caller("ada")
    offered = policy.offer(caller)

    def by_hook(backend: dict[str, Any]) -> Any:
        hook = Setup(backend=backend)
        return policy.settle(caller, "ada-1", offered, offered.choose({}), hook=hook).spec.backend

    assert by_hook({"pods": {"run_as_user": 1001}})["worker"]["run_as_user"] == 1001
    with pytest.raises(RequestInvalid, match=r"backend\.worker\.runAsUser: .*'run_as_user'\? \(from hook\)"):
        by_hook({"worker": {"runAsUser": 1001}})


def test_a_mount_without_its_volume_is_found_once_all_layers_are_together() -> None:
    site = IMAGE + "profiles: {p: {backend: {pods: {volume_mounts: [{name: a, mountPath: /a}]}}}}\n"
    with pytest.raises(RequestInvalid, match=r"mounts a volume 'a' that the pod does not have; it has: none"):
        resolved(site)
    resolved(site + "policy: {everyone: {backend: {pods: {volumes: [{name: a, emptyDir: {}}]}}}}\n")


def test_a_backend_made_without_a_file_says_the_same() -> None:
    backend = KubernetesBackend(KubernetesSettings(), None)
    assert isinstance(backend, ChecksOverlays)
    wrong = backend.check_overlay({"worker": {"pod": {"node_selector": {}}}})
    assert wrong == ["worker.pod.node_selector: unknown key 'node_selector'. Did you mean 'nodeSelector'?"]
    assert backend.check_overlay({"worker": {"node_selector": {}}}) == []
