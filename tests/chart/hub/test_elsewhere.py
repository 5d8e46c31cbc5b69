"""A hub in another namespace than ours, beneath a base URL, whose proxy speaks https with a certificate of the site's
own authority: with what the table of docs/jupyterhub.md says, notebooks compute there as well, also where a network
enforces both charts' policies.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from ... import dashboards
from ...kubernetes.kube import Kube, until
from ...kubernetes.site import merged
from ...live import KILLED
from ..release import RESTRICTED
from .hub import CLUSTER, SLUICE, STEPS, HubRelease, documented, sluice_beside
from .images import Images

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("enforced")]
TOKEN_KEY = "hub.services.dask-gateway.apiToken"


def authority_of_notebooks(name: str) -> dict[str, object]:
    """The hub's values by which notebooks trust whoever the ConfigMap of this name holds."""
    return {
        "extraEnv": {"SSL_CERT_FILE": "/etc/authority/ca.crt"},
        "storage": {
            "extraVolumes": [{"name": "authority", "configMap": {"name": name}}],
            "extraVolumeMounts": [{"name": "authority", "mountPath": "/etc/authority", "readOnly": True}],
        },
    }


def policies_with(namespace: str) -> dict[str, Any]:
    """What the page says of the hub's policies where ours is in this namespace."""
    values = documented("policies elsewhere")
    peer = values["singleuser"]["networkPolicy"]["egress"][0]["to"][0]
    peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = namespace
    return values


@pytest.fixture(scope="module")
def hub(kube: Kube, image_name: str, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubRelease]:
    token = secrets.token_hex(32)
    with (
        kube.namespace("sluice-jupyter", **RESTRICTED) as jupyter,
        kube.namespace("sluice-dask", **RESTRICTED) as dask,
    ):
        host = f"proxy-public.{jupyter}"
        authority = trustme.CA()
        certificate, trusted = authority.issue_cert(host), authority.cert_pem.bytes().decode()
        about = {"name": "authority"}
        kube.apply(
            jupyter,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"ca.crt": trusted}},
        )
        kube.apply(
            dask,
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "stringData": {TOKEN_KEY: token}},
        )
        hub = HubRelease(kube, jupyter, images, tmp_path_factory.mktemp("hub"))
        manual = {
            "cert": certificate.cert_chain_pems[0].bytes().decode(),
            "key": certificate.private_key_pem.bytes().decode(),
        }
        hub.values = merged(
            merged(hub.values, policies_with(dask)),
            {
                "hub": {"baseUrl": "/jupyter/", "services": {"dask-gateway": {"apiToken": token}}},
                "proxy": {"https": {"enabled": True, "type": "manual", "hosts": [host], "manual": manual}},
                "singleuser": authority_of_notebooks("authority"),
                "custom": {
                    "dask-sluice": {"url": f"http://{SLUICE}.{dask}", "dask_address": f"{SLUICE}.{dask}:80"},
                },
            },
        )
        hub.verify = ssl.create_default_context(cadata=trusted)
        hub.verify.check_hostname = False  # from outside of pods there are no names, only addresses
        hub.install()
        sluice = sluice_beside(kube, dask, image_name)
        of_hub = {"api_url": f"http://hub.{jupyter}:8081/jupyter/hub/api", "base_url": "/jupyter/"}
        config = {
            "listen": {"prefix": "/jupyter/services/dask-gateway"},
            "authenticator": {"jupyterhub": of_hub},
        }
        sluice.values = merged(sluice.values, {"config": config})
        hub.install_beside(sluice)
        yield hub


@pytest.mark.parametrize(("image", "client"), [("ours", "dask_sluice"), ("stock", "dask_gateway")])
def test_a_notebook_computes_and_its_cluster_ends_with_it(hub: HubRelease, image: str, client: str) -> None:
    with hub.log_in("ada") as ada:
        notebook = ada.notebook(image)
        host = f"proxy-public.{hub.namespace}"
        address = notebook.run(f"from {client} import Gateway\nprint(Gateway().address)").strip()
        assert address == f"https://{host}/jupyter/services/dask-gateway"
        said = notebook.run(f"{STEPS}\nprint(main({client!r}))")
        assert f"200 https://{host}/jupyter/services/dask-gateway/clusters/" in said
        way = said.strip().rpartition("\n")[2]
        assert way.startswith(f"sluice://{host}" if image == "ours" else f"gateway://{SLUICE}."), way
        notebook.run(CLUSTER.format(client=client))
        name = notebook.run(f"{KILLED}print(cluster.name)").strip()
        ada.stop_server("ada")
        assert ada.ended(name) == "notebook_ended"


def test_a_browser_logs_in_over_https_is_led_back_and_sees_all_of_a_dashboard(hub: HubRelease) -> None:
    with hub.log_in("grace") as grace:
        page = grace.browser.get(f"{hub.gateway}/")
        assert (page.status_code, str(page.url)) == (200, f"{hub.gateway}/")
        assert "grace" in page.text
        assert json.loads(grace.ask().text)["user"] == "grace"
        name = grace.ask("/api/v2/clusters", "POST", json={}).json()["name"]
        grace.ask(f"/api/v2/clusters/{name}/scale", "POST", json={"count": 1})
        until(lambda: grace.ask(f"/api/v2/clusters/{name}").json()["workers"]["running"] == 1, "it has a worker")
        dashboard = f"{hub.gateway}/clusters/{name}"
        assert isinstance(hub.verify, ssl.SSLContext)
        assert dashboards.answers(grace.browser, dashboard, hub.verify).startswith(f"{dashboard}/~"), "by a ticket"
        grace.leave()
