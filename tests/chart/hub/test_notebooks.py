"""Beside a real hub, with nothing but the values of docs/jupyterhub.md: people log in at the hub, start a notebook, say
`Gateway()` and compute through the hub's proxy, by our client and by dask-gateway's. They have no rights in Kubernetes,
and the namespace enforces Pod Security `restricted`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ...kubernetes.kube import until
from ...live import KILLED
from .hub import CLUSTER, SLUICE, STEPS, HubRelease, Person

pytestmark = pytest.mark.real
CONNECTED = """
import psutil
to = [each.raddr for each in psutil.Process().net_connections() if each.raddr]
print(*{f"{ip}:{port}" for ip, port in to if ip != "127.0.0.1"})
"""


@pytest.fixture
def ada(hub: HubRelease) -> Iterator[Person]:
    with hub.log_in("ada") as person:
        yield person
        person.leave()


@pytest.fixture
def grace(hub: HubRelease) -> Iterator[Person]:
    with hub.log_in("grace") as person:
        yield person
        person.leave()


def test_a_notebook_takes_the_seeds_steps_with_our_client_all_by_way_of_the_hubs_proxy(
    hub: HubRelease, ada: Person
) -> None:
    notebook = ada.notebook("ours")
    said = notebook.run(f"{STEPS}\nprint(main('dask_sluice'))")
    assert "the dashboard answers" in said
    assert said.strip().rpartition("\n")[2].startswith(f"sluice://{hub.host}:80/"), "a tunnel to the hub's proxy"

    notebook.run(CLUSTER.format(client="dask_sluice"))
    told = notebook.run("import os; print(client.submit(lambda: (os.environ['SCRATCH_BUCKET'], 6 * 7)).result())")
    assert told.strip() == "('s3://scratch', 42)"
    name = notebook.run(f"{KILLED}print(cluster.name)").strip()
    assert notebook.run(CONNECTED).split() == [f"{hub.host}:80"], "and nowhere else"
    selector = f"gateway.dask.org/cluster={name}"
    pods = hub.kube.items(hub.namespace, "pods", selector)
    image = hub.kube.items(hub.namespace, "pods", "component=singleuser-server")[0]["spec"]["containers"][0]["image"]
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}, "clusters run the notebook's image"

    ada.stop_server("ada")
    assert ada.ended(name) == "notebook_ended"
    until(lambda: not hub.kube.items(hub.namespace, "pods", selector), "its pods are gone")


def test_a_notebook_takes_the_seeds_steps_with_dask_gateways_client_alone(hub: HubRelease, grace: Person) -> None:
    notebook = grace.notebook("stock")
    assert "None" in notebook.run("import importlib.util as u; print(u.find_spec('dask_sluice'))")
    said = notebook.run(f"{STEPS}\nprint(main('dask_gateway'))")
    assert "the dashboard answers" in said
    assert said.strip().rpartition("\n")[2].startswith(f"gateway://{SLUICE}:80/"), "custom.dask-sluice.dask_address"
    notebook.run(CLUSTER.format(client="dask_gateway"))
    name = notebook.run(f"{KILLED}print(cluster.name)").strip()
    grace.stop_server("grace")
    assert grace.ended(name) == "notebook_ended"


def test_a_cluster_that_is_to_outlive_its_notebook_does(ada: Person) -> None:
    notebook = ada.notebook("ours")
    notebook.run("from dask_sluice import Gateway\nkept = Gateway().new_cluster(shutdown_on_close=False)")
    ends = notebook.run(f"other = Gateway().new_cluster()\n{KILLED}print(other.name)").strip()
    kept = notebook.run("print(kept.name)").strip()
    ada.stop_server("ada")
    assert ada.ended(ends) == "notebook_ended"
    assert ada.ask(f"/api/v2/clusters/{kept}").json()["state"] == "running"


def test_users_have_no_rights_in_kubernetes_and_no_token_to_ask_with(hub: HubRelease, ada: Person) -> None:
    notebook = ada.notebook("ours")
    assert notebook.run("import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))").strip() == "False"
    pod = hub.kube.items(hub.namespace, "pods", "component=singleuser-server")[0]
    account = pod["spec"].get("serviceAccountName", "default")
    for verb in ("create", "get", "delete"):
        who = f"--as=system:serviceaccount:{hub.namespace}:{account}"
        assert hub.kube.run("-n", hub.namespace, "auth", "can-i", verb, "pods", who, check=False).strip() == "no"
    labels = json.loads(hub.kube.run("get", "namespace", hub.namespace, "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_scope_decides_who_comes_in_and_the_hub_tells_groups_and_administrators(
    hub: HubRelease, ada: Person
) -> None:
    plan = ada.ask("/api/v2/clusters?dry_run=true", "POST", json={}).json()
    assert plan["groups"] == ["lab"]
    refused = ada.ask(token=ada.token("ada", "read:users!user=ada"))
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "the token of ada lacks the scope access:services!service=dask-gateway",
    )
    assert ada.ask(token="a-guess").status_code == 401
    assert not ada.ask().json()["is_admin"]
    with hub.log_in("root") as root:
        assert root.ask().json()["is_admin"]


def test_a_browser_that_is_logged_in_at_the_hub_sees_the_page_and_the_dashboard(hub: HubRelease, ada: Person) -> None:
    page = ada.browser.get(f"{hub.gateway}/")
    assert page.status_code == 200
    assert str(page.url) == f"{hub.gateway}/", "to the hub's login and back"
    assert "ada" in page.text
    name = ada.ask("/api/v2/clusters", "POST", json={}).json()["name"]
    view = f"/api/v2/clusters/{name}"
    until(lambda: ada.ask(view).json()["state"] == "running", f"{name} runs")
    dashboard = ada.browser.get(f"{hub.gateway}/clusters/{name}/status")
    assert dashboard.status_code == 200
    assert "Dask" in dashboard.text
