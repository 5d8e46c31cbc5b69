"""A real JupyterHub in a real Kubernetes, beside a release of ours, and people who log in there.

What joins the two are the values that docs/jupyterhub.md shows, as they stand there.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from ...hub.api import HubApi
from ...hub.notebook import Notebook
from ...kubernetes.kube import ROOT, Kube, until
from ...kubernetes.site import merged
from ..release import RESTRICTED, HelmRelease, Release
from .images import Images

PAGE = ROOT / "docs" / "jupyterhub.md"
STEPS = (ROOT / "demo" / "steps.py").read_text().partition('\nif __name__ == "__main__":')[0]
"""What the seed notebook does; then `main("dask_sluice")`, or `main("dask_gateway")`."""
CLUSTER = """
from {client} import Gateway
gateway = Gateway()
cluster = gateway.new_cluster()
cluster.scale(1)
client = cluster.get_client()
"""
PASSWORD = "correct horse battery staple"
JUPYTERHUB = Path(__file__).parent / "jupyterhub"
"""A stand-in for JupyterHub's chart (decision 0061)."""
SLUICE = "dask-sluice"
"""Our release, as the page has it: its Service is called the same."""
SETTINGS = {
    "JupyterHub": {"authenticator_class": "dummy", "load_groups": {"lab": {"users": ["ada"]}}},
    "Authenticator": {"allow_all": True, "admin_users": ["root"]},
    "DummyAuthenticator": {"password": PASSWORD},
}


def documented(name: str) -> dict[str, Any]:
    """The block of YAML of docs/jupyterhub.md that bears this name."""
    (block,) = re.findall(rf"<!-- values: {name} -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(yaml.safe_load(block))


def sluice_beside(kube: Kube, namespace: str, image_name: str) -> Release:
    """Ours, not installed yet."""
    release = Release(kube, namespace, image_name, name=SLUICE)
    release.values = merged(release.values, documented("dask-sluice"))
    return release


@contextmanager
def beside(kube: Kube, image_name: str, images: Images, directory: Path) -> Iterator[HubRelease]:
    """Both, as the page has it: in one namespace, which enforces Pod Security `restricted`, the hub first."""
    with kube.namespace("sluice-hub", **RESTRICTED) as namespace:
        hub = HubRelease(kube, namespace, images, directory)
        hub.install()
        hub.install_beside(sluice_beside(kube, namespace, image_name))
        yield hub


class HubRelease(HelmRelease):
    """The hub, not installed yet; everybody has the same password."""

    speakers = ("component=hub", "component=proxy", "component=singleuser-server")

    def __init__(self, kube: Kube, namespace: str, images: Images, directory: Path) -> None:
        super().__init__(kube, namespace, "jupyterhub", JUPYTERHUB)
        pair = dict(zip(("name", "tag"), images.hub.rsplit(":", 1), strict=True))
        users = {"ours": images.ours, "stock": images.stock}
        self.values = merged(
            documented("jupyterhub"),
            {
                "hub": {"image": pair, "config": SETTINGS},
                "proxy": {"chp": {"image": pair}},
                "singleuser": {
                    "image": dict(zip(("name", "tag"), images.ours.rsplit(":", 1), strict=True)),
                    "profileList": [
                        {"display_name": name, "slug": name, "kubespawner_override": {"image": image}}
                        for name, image in users.items()
                    ],
                    "extraEnv": {"SCRATCH_BUCKET": "s3://scratch"},
                },
            },
        )
        # As the page says: `dask-sluice hub-extension > hub_extension.py`.
        file = directory / "hub_extension.py"
        command = [sys.executable, "-m", "dask_sluice", "hub-extension"]
        file.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        self.files = {"hub.extraConfig.dask-sluice": file}
        self.verify: ssl.SSLContext | bool = True

    @property
    def base_url(self) -> str:
        """No slash at the end."""
        return str(self.values["hub"].get("baseUrl", "/")).rstrip("/")

    @property
    def origin(self) -> str:
        """Of its proxy."""
        return f"{'https' if self.values['proxy'].get('https') else 'http'}://{self.host}"

    @property
    def host(self) -> str:
        return str(self.service("proxy-public")["clusterIP"])

    @property
    def address(self) -> str:
        """Of the hub, for people."""
        return f"{self.origin}{self.base_url}"

    @property
    def gateway(self) -> str:
        """Our server's address by way of the hub's proxy."""
        return f"{self.origin}{self.base_url}/services/dask-gateway"

    def install_beside(self, sluice: Release) -> None:
        """Install ours, and wait until the hub's proxy passes requests on: a new hub is ready a little before that."""
        sluice.install()
        health = f"{self.gateway}/health"
        until(lambda: httpx.get(health, verify=self.verify, trust_env=False).is_success, "the hub's proxy knows ours")

    def service(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.kube.run("-n", self.namespace, "get", "service", name, "-o", "json"))["spec"])

    def service_named(self, name: str) -> Caller:
        """One of `hub.services`, for which the chart has made a token."""
        data = json.loads(self.kube.run("-n", self.namespace, "get", "secret", "hub", "-o", "json"))["data"]
        return Caller(self, base64.b64decode(data[f"hub.services.{name}.apiToken"]).decode())

    def log_in(self, user: str) -> Person:
        """To be closed, as a browser."""
        return Person(self, user)


class Caller(HubApi):
    """Whoever has a token of the hub: a person, or a service."""

    def __init__(self, hub: HubRelease, token: str) -> None:
        super().__init__(hub.address, f"{hub.address}/hub/api", token, hub.verify)
        self.hub = hub

    def story(self) -> str:
        return self.hub.story()

    def ask(self, path: str = "/api/v2/", method: str = "GET", token: str = "", **options: Any) -> httpx.Response:
        """Our server, by way of the hub's proxy."""
        headers = {"Authorization": f"token {token or self.default_token}"}
        url = self.hub.gateway + path
        return httpx.request(method, url, headers=headers, timeout=30, verify=self.verify, trust_env=False, **options)

    def ended(self, name: str) -> str:
        """The code of the reason, once this cluster has ended."""
        view = f"/api/v2/clusters/{name}"
        until(lambda: self.ask(view).json()["state"] in ("stopped", "failed"), f"{name} has ended")
        return str(self.ask(view).json()["reason"]["code"])


class Person(Caller):
    """A user of the hub, who has logged in on its page, and has a token from it with all that the user may do."""

    def __init__(self, hub: HubRelease, user: str) -> None:
        self.user = user
        address = hub.address
        self.browser = httpx.Client(verify=hub.verify, timeout=60, follow_redirects=True, trust_env=False)
        form = {"username": user, "password": PASSWORD, "_xsrf": self._xsrf(f"{address}/hub/login")}
        page = self.browser.post(f"{address}/hub/login", data=form, params={"next": f"{hub.base_url}/hub/token"})
        assert page.status_code == 200, page.text
        answer = self.browser.post(
            f"{address}/hub/api/users/{user}/tokens",
            json={"note": "of the tests"},
            headers={"X-XSRFToken": self._xsrf(f"{address}/hub/token"), "Referer": f"{address}/hub/token"},
        )
        assert answer.is_success, answer.text
        super().__init__(hub, answer.json()["token"])

    def _xsrf(self, page: str) -> str:
        """As a form or a script of this page sends it."""
        text = self.browser.get(page).text
        found = re.search(r'name="_xsrf" value="([^"]+)"', text) or re.search(r'xsrf_token: "([^"]+)"', text)
        assert found, text
        return found[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()

    def notebook(self, image: str, server: str = "") -> Notebook:
        """A kernel in a notebook server with this image, started by this person."""
        self.start_server(self.user, server, {"profile": image})
        return Notebook(self, self.user, server)

    def leave(self) -> None:
        """Stop what this person has."""
        if self.server_of(self.user):
            self.stop_server(self.user)
        for cluster in self.ask("/api/v2/clusters").json():
            self.ask(f"/api/v2/clusters/{cluster['name']}", "DELETE")
