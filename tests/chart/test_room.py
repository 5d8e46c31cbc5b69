"""Room for those who come next: schedulers that wait get the rights and the way that they need, placeholders are put
out by everything else; a site that asks for neither has nothing of them.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .helm import NAME, Documents, Refused, every, one, rendered, rights, server_config, template

WARM = {"config": {"backend": {"kubernetes": {"warm_schedulers": [{"count": 2, "profile": "small"}]}}}}
NONE = {"config": {"backend": {"kubernetes": {"warm_schedulers": [{"count": 0}]}}}}


def rules(documents: Documents) -> list[dict[str, Any]]:
    return list(one(documents, "Role")["rules"])


def who_reaches_schedulers(documents: Documents) -> list[str]:
    """Components that may connect to port 8786 of schedulers."""
    policies = every(documents, "NetworkPolicy")
    (policy,) = (each for each in policies if each["metadata"]["name"] == f"{NAME}-dask-scheduler")
    peers = [peer for rule in policy["spec"]["ingress"] if {"port": 8786} in rule["ports"] for peer in rule["from"]]
    return [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers]


def test_only_where_schedulers_wait_may_the_server_change_pods_and_reach_schedulers() -> None:
    assert rules(rendered({})) == rules(rendered(NONE)) == rights()
    assert sorted(map(str, rules(rendered(WARM)))) == sorted(map(str, rights("rights-warm")))
    assert who_reaches_schedulers(rendered({})) == ["proxy"]
    assert who_reaches_schedulers(rendered(WARM)) == ["proxy", "server"]


def test_only_where_each_cluster_has_a_policy_may_the_server_make_any() -> None:
    without = rendered({"networkPolicy": {"enabled": False}})
    assert rules(without) == [rule for rule in rights() if rule["resources"] != ["networkpolicies"]]
    said = [yaml.safe_load(server_config(found))["backend"]["kubernetes"] for found in (without, rendered({}))]
    assert ["isolate_clusters" in each for each in said] == [False, True]


def test_a_slip_in_a_wish_is_refused_with_its_place() -> None:
    wish = {"config": {"backend": {"kubernetes": {"warm_schedulers": [{"number": 2}]}}}}
    with pytest.raises(Refused, match="/config/backend/kubernetes/warm_schedulers/0"):
        template(wish)


def test_placeholders_keep_the_room_that_is_asked_for_and_give_it_up_to_everybody() -> None:
    assert not every(rendered({}), "PriorityClass")
    values = {
        "placeholders": {"replicas": 3, "resources": {"requests": {"cpu": "4"}}, "nodeSelector": {"pool": "dask"}}
    }
    documents = rendered(values)
    priority = one(documents, "PriorityClass")
    assert priority["metadata"]["name"] == f"dask-{NAME}-placeholder", "of this namespace, since it is in none"
    assert priority["value"] < 0
    assert (priority["globalDefault"], priority["preemptionPolicy"]) == (False, "Never")
    (deployment,) = (
        each for each in every(documents, "Deployment") if each["metadata"]["name"] == f"{NAME}-placeholder"
    )
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 3
    assert (pod["priorityClassName"], pod["nodeSelector"]) == (priority["metadata"]["name"], {"pool": "dask"})
    assert {each["key"] for each in pod["tolerations"]} == {"k8s.dask.org/dedicated", "k8s.dask.org_dedicated"}
    assert pod["terminationGracePeriodSeconds"] == 0
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "4Gi"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_priority_class_of_the_site_is_used_and_none_is_made() -> None:
    values = {"placeholders": {"replicas": 1, "priorityClass": {"create": False, "name": "dask-room"}}}
    documents = rendered(values)
    assert not every(documents, "PriorityClass")
    pods = [each["spec"]["template"]["spec"] for each in every(documents, "Deployment")]
    assert [pod["priorityClassName"] for pod in pods if "priorityClassName" in pod] == ["dask-room"]


def test_placeholders_that_would_put_others_out_are_refused() -> None:
    with pytest.raises(Refused, match="/placeholders/priorityClass/value"):
        template({"placeholders": {"replicas": 1, "priorityClass": {"value": 100}}})
