"""What the chart makes of values: names and labels that others go by, pods that Pod Security `restricted` takes, one
place for placement, and the settings of the server as they were written.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice.server.settings import load

from .helm import (
    CHART,
    GOLDEN,
    HERE,
    KUBERNETES,
    NAME,
    VALUES,
    every,
    golden,
    helm,
    one,
    pods,
    rendered,
    rights,
    server_config,
    template,
    values_of,
)

SITE = values_of("site")
NOTHING: dict[str, Any] = {}


@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_what_it_was(name: str) -> None:
    text, path = golden(name)
    assert text == path.read_text(), "python -m tests.chart.helm, if the difference is what you meant"


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing_to_complain_about(name: str) -> None:
    command = [helm(), "lint", "--strict", "--kube-version", KUBERNETES, "-f", f"{HERE}/values/{name}.yaml", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_of_the_server_arrive_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = server_config(rendered(SITE))
    file.write_text(text.replace("/etc/dask-sluice/", f"{tmp_path}/"))
    for secret in ("secrets/db/password", "secrets/metrics/token", "keys/proxy-token"):
        (tmp_path / secret).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / secret).write_text("a-secret-of-at-least-16-characters")
    settings = load(file)  # strictly: what Helm makes of a number must be that number
    assert settings.health.disk_free_bytes == 1_000_000_000
    assert settings.limits.cluster.workers == 20
    assert settings.listen.prefix == "/services/dask-gateway"
    assert settings.backend.kubernetes.instance == NAME
    assert settings.listen.agent_url == f"http://{NAME}-server.dask.svc:8000"
    assert settings.on_stop is None
    given = yaml.safe_load(text)
    for section, value in SITE["config"].items():
        assert given[section] | value == given[section] or section == "backend"
    assert given["backend"]["kubernetes"] == {
        "instance": NAME,
        "isolate_clusters": True,
        **SITE["config"]["backend"]["kubernetes"],
    }


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_keeps_to_pod_security_restricted(name: str) -> None:
    found = {pod["containers"][0]["name"]: pod for pod in pods(rendered(values_of(name)))}
    assert {"proxy", "server", "doctor", "check"} == found.keys() - {"placeholder"}
    for pod in found.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        ours = pod["containers"][0]
        assert ours["securityContext"]["allowPrivilegeEscalation"] is False
        assert ours["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert ours["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"requests", "limits"} == set(ours["resources"])
        assert not [volume for volume in pod.get("volumes", ()) if "hostPath" in volume]


@pytest.mark.parametrize("name", VALUES)
def test_a_command_line_is_texts_whatever_the_values_look_like_to_yaml(name: str) -> None:
    for pod in pods(rendered(values_of(name))):
        words = [word for each in pod["containers"] for word in (*each.get("command", ()), *each.get("args", ()))]
        assert [word for word in words if not isinstance(word, str)] == []


def test_only_the_server_has_an_account_of_kubernetes() -> None:
    by_name = {pod["containers"][0]["name"]: pod for pod in pods(rendered({}))}
    assert [name for name, pod in by_name.items() if pod["automountServiceAccountToken"]] == ["server"]


def test_the_rights_are_those_that_the_backend_lists_and_no_cluster_role() -> None:
    documents = rendered(SITE)
    role = one(documents, "Role")
    assert (role["metadata"]["namespace"], role["rules"]) == ("dask-jobs", rights())
    assert one(documents, "RoleBinding")["subjects"][0]["namespace"] == "dask"
    assert not every(documents, "ClusterRole")


def test_placement_stands_in_one_place_and_each_pod_may_have_its_own() -> None:
    server, proxy, test = (
        next(pod for pod in pods(rendered(SITE)) if pod["containers"][0]["name"] == name)
        for name in ("server", "proxy", "doctor")
    )
    for pod in (server, test):
        assert pod["nodeSelector"] == {"pool": "core"}
        assert "priorityClassName" not in pod
    assert "nodeSelector" not in proxy, "an empty one stands for itself"
    assert proxy["priorityClassName"] == "important"
    assert proxy["tolerations"] == server["tolerations"] == [{"key": "core", "operator": "Exists"}]


def test_the_same_keys_say_where_each_pod_runs_and_what_is_beside_it() -> None:
    where = values_of("everything")["placement"]
    beside = {
        "labels": {"a": "b"},
        "env": [{"name": "A", "value": "b"}],
        "volumes": [{"name": "a", "emptyDir": {}}],
        "volumeMounts": [{"name": "a", "mountPath": "/a"}],
        "initContainers": [{"name": "first", "image": "a:1"}],
        "containers": [{"name": "beside", "image": "a:1"}],
    }
    for component, container in (("server", "server"), ("proxy", "proxy"), ("check", "check"), ("tests", "doctor")):
        found = rendered({component: {"placement": where, **beside}})
        (pod,) = (each for each in pods(found) if each["containers"][0]["name"] == container)
        spreads = {"topologySpreadConstraints"} if component in ("check", "tests") else set()  # one pod only
        assert {key: pod[key] for key in where.keys() - spreads} == {key: where[key] for key in where.keys() - spreads}
        assert [each["name"] for each in pod["initContainers"]] == ["first"]
        assert pod["containers"][-1]["name"] == "beside"
        assert pod["volumes"][-1]["name"] == pod["containers"][0]["volumeMounts"][-1]["name"] == "a"
        assert pod["containers"][0]["env"][-1]["name"] == "A"


def test_a_server_with_an_sqlite_file_is_replaced_and_several_are_rolled() -> None:
    alone, several = (
        one(rendered(values), "Deployment", f"{NAME}-server")["spec"]["strategy"] for values in (NOTHING, SITE)
    )
    assert alone == {"type": "Recreate"}
    assert several == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_data_is_claimed_where_there_is_no_postgresql_and_outlives_the_release() -> None:
    claim = one(rendered({}), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not every(rendered(SITE), "PersistentVolumeClaim")
    assert not every(rendered({"server": {"data": {"existingClaim": "mine"}}}), "PersistentVolumeClaim")
    assert not every(rendered({"server": {"data": {"type": "emptyDir"}}}), "PersistentVolumeClaim")


def test_proxies_get_no_secret_of_the_settings() -> None:
    documents = rendered(SITE)
    assert yaml.safe_load(one(documents, "ConfigMap", f"{NAME}-proxy")["data"]["config.yaml"]) == {
        "listen": {"prefix": "/services/dask-gateway", "max_connections_per_address": 20000},
        "log": {"format": "json"},
    }
    pod = one(documents, "Deployment", f"{NAME}-proxy")["spec"]["template"]["spec"]
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secrets == [{"secretName": "sluice-keys", "items": [{"key": "proxy-token", "path": "proxy-token"}]}]


def test_pods_are_new_when_their_settings_are_and_not_when_only_the_chart_is() -> None:
    def sums(values: dict[str, Any]) -> dict[str, str]:
        found = every(rendered(values), "Deployment")
        return {each["metadata"]["name"]: str(each["spec"]["template"]["metadata"]) for each in found}

    before = sums({})
    server = sums({"config": {"limits": {"cluster": {"workers": 3}}}})
    both = sums({"config": {"log": {"level": "debug"}}})
    assert server[f"{NAME}-proxy"] == before[f"{NAME}-proxy"]
    assert all(server[name] != both[name] != before[name] for name in (f"{NAME}-server",))
    assert both[f"{NAME}-proxy"] != before[f"{NAME}-proxy"]
    assert "helm.sh/chart" not in before[f"{NAME}-server"]


def test_names_are_stable_and_fit() -> None:
    names = [each["metadata"]["name"] for each in rendered({}, release="dask-sluice")]
    assert all(name.startswith("dask-sluice") and "dask-sluice-dask-sluice" not in name for name in names)
    long = rendered({}, release="r" * 53)
    assert all(len(each["metadata"]["name"]) <= 63 for each in long)
    assert one(rendered({"fullnameOverride": "gate"}), "Service", "gate")


def test_a_route_for_dask_is_of_the_version_that_the_gateway_api_serves() -> None:
    old, new = (f"gateway.networking.k8s.io/{version}/TCPRoute" for version in ("v1alpha2", "v1"))

    def version(*served: str) -> str:
        documents = [each for each in yaml.safe_load_all(template(SITE, served=served)) if each]
        return f"{one(documents, 'TCPRoute')['apiVersion']}/TCPRoute"

    assert version(old) == old
    assert version(new) == version(old, new) == version() == new


def test_the_one_address_may_have_other_names_and_dask_a_port_of_its_own() -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in every(rendered(SITE), "Service")}
    assert set(services) == {NAME, f"{NAME}-dask", f"{NAME}-server", "traefik-hub-dask-gateway"}
    assert services[f"{NAME}-dask"]["type"] == "LoadBalancer"
    assert services[f"{NAME}-dask"]["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert services["traefik-hub-dask-gateway"]["selector"] == services[NAME]["selector"]
    assert {services[name].get("type", "ClusterIP") for name in (NAME, f"{NAME}-server")} == {"ClusterIP"}


def test_network_policies_let_pass_what_must_and_keep_users_from_the_rest() -> None:
    documents = rendered(SITE)
    policies = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each
        for each in every(documents, "NetworkPolicy")
    }
    assert set(policies) == {"server", "proxy", "dask-scheduler", "dask-worker"}
    for component in ("dask-scheduler", "dask-worker"):
        assert policies[component]["metadata"]["namespace"] == "dask-jobs"
        assert policies[component]["spec"]["podSelector"]["matchLabels"] == {
            "app.kubernetes.io/name": "dask-gateway",
            "gateway.dask.org/instance": NAME,
            "app.kubernetes.io/component": component,
        }
    (rule,) = policies["server"]["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]] == [
        "proxy",
        "dask-scheduler",
    ]
    assert one(rendered({}), "NetworkPolicy", f"{NAME}-proxy")["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]


def test_users_pods_reach_the_internet_and_no_private_network_or_metadata_server_unless_that_is_said() -> None:
    def blocks(values: dict[str, Any]) -> list[dict[str, Any]]:
        egress = one(rendered(values), "NetworkPolicy", f"{NAME}-dask-worker")["spec"]["egress"]
        return [peer["ipBlock"] for rule in egress for peer in rule.get("to", ()) if "ipBlock" in peer]

    public, _ = blocks({})
    assert public["cidr"] == "0.0.0.0/0"
    assert {"10.0.0.0/8", "192.168.0.0/16", "169.254.169.254/32"} <= set(public["except"])
    assert blocks({"networkPolicy": {"egress": {"internet": False}}}) == []
    extra = {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}
    only = blocks({"networkPolicy": {"egress": {"internet": False, "extra": [extra]}}})
    assert only == [{"cidr": "192.0.2.1/32"}]


def test_a_hubs_policies_let_the_server_reach_the_hub() -> None:
    documents = rendered({"config": {"authenticator": {"kind": "jupyterhub"}}})
    labels = one(documents, "Deployment", f"{NAME}-server")["spec"]["template"]["metadata"]["labels"]
    assert labels["hub.jupyter.org/network-access-hub"] == "true"
    by_name = {pod["containers"][0]["name"]: pod for pod in pods(documents)}
    assert [name for name, pod in by_name.items() if pod["enableServiceLinks"]] == ["server"], "for HUB_SERVICE_HOST"


def test_of_a_secret_of_others_only_what_is_needed_is_mounted() -> None:
    key = "hub.services.dask-gateway.apiToken"
    documents = rendered({"server": {"secrets": ["all.of-it", {"name": "hub", "keys": [key]}]}})
    for pod in (pod for pod in pods(documents) if pod["containers"][0]["name"] in ("server", "check")):
        volumes = {volume["name"]: volume.get("secret") for volume in pod["volumes"]}
        assert volumes["secret-0"] == {"secretName": "all.of-it"}
        assert volumes["secret-1"] == {"secretName": "hub", "items": [{"key": key, "path": key}]}
        places = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        assert {"/etc/dask-sluice/secrets/all.of-it", "/etc/dask-sluice/secrets/hub"} <= set(places)


def test_clusters_in_namespaces_of_users_need_them_named_or_a_cluster_role() -> None:
    backend = {"backend": {"kubernetes": {"namespace": "dask-{user.escaped}"}}}
    named = rendered({"config": backend, "rbac": {"namespaces": ["dask-ada", "dask-bob"]}})
    assert [each["metadata"]["namespace"] for each in every(named, "Role")] == ["dask-ada", "dask-bob"]
    given = yaml.safe_load(server_config(named))["backend"]["kubernetes"]
    assert given["namespaces"] == ["dask-ada", "dask-bob"], "the server looks where it may, and nowhere else"
    wide = rendered({"config": backend, "rbac": {"clusterWide": True}})
    assert one(wide, "ClusterRole")["metadata"]["name"] == f"dask-{NAME}-server"
    assert not every(wide, "Role")


@pytest.mark.parametrize("parents", [["hub"], ["hub", "site"]])
def test_it_works_beneath_other_charts_and_can_be_left_out(tmp_path: Path, parents: list[str]) -> None:
    chart = CHART
    values: dict[str, Any] = {"config": {"limits": {"cluster": {"workers": 7}}}}
    for level, parent in enumerate(parents):
        folder = tmp_path / parent
        name = "dask-sluice" if level == 0 else parents[level - 1]
        (folder / "charts").mkdir(parents=True)
        (folder / "charts" / name).symlink_to(chart)
        version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
        condition = f"{name}.enabled" if level == 0 else f"{name}.dask-sluice.enabled"
        dependency = {"name": name, "version": version, "condition": condition if level == 0 else ""}
        document = {"apiVersion": "v2", "name": parent, "version": "1.0.0", "dependencies": [dependency]}
        (folder / "Chart.yaml").write_text(yaml.safe_dump(document))
        chart, values = folder, {name: values, "global": {"anything": 1}}
    inner = values
    for name in [*reversed(parents[:-1]), "dask-sluice"]:
        inner = inner[name]
    assert "workers: 7" in server_config(rendered(values, chart=chart))
    inner["enabled"] = False
    assert rendered(values, chart=chart) == []


def test_the_board_is_where_grafana_looks() -> None:
    documents = rendered({"monitoring": {"grafanaDashboard": {"enabled": True, "annotations": {"folder": "Dask"}}}})
    board = one(documents, "ConfigMap", f"{NAME}-grafana")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["dask-sluice.json"])["title"] == "dask-sluice"
