"""The hub's extension adds to a configuration and replaces nothing in it, in every form that hubs' configurations have.

It runs in the hub's own environment, on traitlets' own configuration objects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import hub_environment
from .hub import ROOT

pytestmark = pytest.mark.real
SCOPE = "access:services!service=dask-gateway"
KUBERNETES = {
    "HUB_SERVICE_HOST": "10.0.0.1",
    "PROXY_PUBLIC_SERVICE_HOST": "10.0.0.2",
    "PROXY_PUBLIC_SERVICE_PORT": "80",
}
BEFORE = """
import json, asyncio
from traitlets.config import Config
from dask_sluice.hub_extension import configure, Wrong
import jupyterhub.app

c = Config()
app = jupyterhub.app.JupyterHub.instance(bind_url="http://:8123/jupyter/")

class Spawner:
    image = "registry.example.org/lab:1"

def environment(section):
    return {name: value(Spawner()) if callable(value) else value for name, value in section["environment"].items()}
"""


def configured(python: Path, code: str, tell: str, **environ: str) -> Any:
    """What `tell` comes to after `code`."""
    program = f"{BEFORE}\n{code}\nprint('TOLD', json.dumps({tell}))"
    done = subprocess.run(
        [python, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("TOLD ")[2])


@pytest.mark.parametrize("name", ["hub-newest", "hub-2"])
def test_an_empty_configuration_gets_service_roles_and_environment(name: str) -> None:
    code = """
configure(c, url="http://sluice:8000", api_token="12345678", variables=["SCRATCH_BUCKET"])
told = {
    "services": c.JupyterHub.services.to_dict()["extend"],
    "roles": c.JupyterHub.load_roles.to_dict()["extend"],
    "environment": environment({"environment": c.Spawner.environment.to_dict()["update"]}),
}
"""
    told = configured(hub_environment(name), code, "told")
    service = {"name": "dask-gateway", "url": "http://sluice:8000", "oauth_no_confirm": True, "api_token": "12345678"}
    assert told["services"] == [service]
    roles = {role["name"]: role for role in told["roles"]}
    assert roles["user"]["scopes"] == ["self", SCOPE]
    assert {SCOPE, "users:activity!user"} <= set(roles["server"]["scopes"])
    assert roles["dask-gateway-service"] == {
        "name": "dask-gateway-service",
        "scopes": ["read:servers", SCOPE],
        "services": ["dask-gateway"],
    }
    environment = told["environment"]
    assert environment["DASK_SLUICE__ADDRESS"] == "http://127.0.0.1:8123/jupyter/services/dask-gateway"
    assert environment["DASK_GATEWAY__PUBLIC_ADDRESS"] == "/jupyter/services/dask-gateway"
    assert environment["DASK_SLUICE__CLUSTER__OPTIONS__VARIABLES"] == '{"SCRATCH_BUCKET": "{SCRATCH_BUCKET}"}'
    assert "DASK_SLUICE__CLUSTER__OPTIONS__IMAGE" not in environment


def test_what_the_chart_and_the_site_have_set_stays_and_ours_comes_to_it(hub_python: Path) -> None:
    code = """
c.JupyterHub.services = [{"name": "dask-gateway", "api_token": "made by the chart", "display": False}]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "shares!user"]},
    {"name": "server", "scopes": ["users:activity!user"]},
]
c.KubeSpawner.environment = {"DASK_GATEWAY__ADDRESS": "https://elsewhere", "SITE": "1"}
done = []
c.KubeSpawner.post_stop_hook = lambda spawner: done.append("the site's own")
c.Spawner.server_token_scopes = ["users:activity!user"]
c.JupyterHub.base_url = "/jupyter/"
configure(c, url="http://sluice.dask:8000/", groups=["lab"])
"""
    tell = "[c.JupyterHub.services, c.JupyterHub.load_roles, environment(c.KubeSpawner), c.Spawner.server_token_scopes]"
    services, roles, environment, scopes = configured(hub_python, code, tell, **KUBERNETES)
    assert services[0]["api_token"] == "made by the chart"
    assert services[0]["url"] == "http://sluice.dask:8000"
    by_name = {role["name"]: role for role in roles}
    assert by_name["user"]["scopes"] == ["self", "shares!user"], "only members of the group may"
    assert by_name["dask-gateway-users"] == {"name": "dask-gateway-users", "scopes": [SCOPE], "groups": ["lab"]}
    assert by_name["server"]["scopes"] == ["users:activity!user", SCOPE]
    assert environment["DASK_GATEWAY__ADDRESS"] == "https://elsewhere"
    assert environment["DASK_SLUICE__ADDRESS"] == "http://10.0.0.2:80/jupyter/services/dask-gateway"
    assert environment["DASK_SLUICE__CLUSTER__OPTIONS__IMAGE"] == "{JUPYTER_IMAGE_SPEC}", "our client fills it in"
    assert environment["SITE"] == "1"
    assert scopes == ["users:activity!user", SCOPE]


ADDRESS = "environment({'environment': c.KubeSpawner.environment.to_dict()['update']})['DASK_SLUICE__ADDRESS']"
# The chart's own module, as far as it is asked.
CHART = """
import sys, types
values, names = {values!r}, {names!r}
def get_config(key, default=None):
    value = values
    for level in key.split("."):
        value = value.get(level, {{}})
    return value or default
sys.modules["z2jh"] = types.SimpleNamespace(get_config=get_config, get_name=lambda name: names.get(name, name))
"""


@pytest.mark.parametrize(
    ("services", "address"),
    [
        ({"PROXY_HTTP_SERVICE_HOST": "fd00::3", "PROXY_HTTP_SERVICE_PORT": "8000"}, "http://[fd00::3]:8000"),
        ({"PROXY_PUBLIC_SERVICE_PORT": "443", "PROXY_PUBLIC_SERVICE_PORT_HTTP": "80"}, "http://10.0.0.2:80"),
    ],
)
def test_with_https_before_the_charts_proxy_notebooks_speak_http_behind_it(
    hub_python: Path, services: dict[str, str], address: str
) -> None:
    code = "configure(c, url='http://sluice:8000', api_token='12345678')"
    told = configured(hub_python, code, ADDRESS, **{**KUBERNETES, **services})
    assert told == f"{address}/services/dask-gateway"


def test_a_chart_whose_proxy_speaks_https_itself_must_say_by_which_name(hub_python: Path) -> None:
    https = {"enabled": True, "type": "manual", "hosts": ["hub.example.org"]}
    call = "configure(c, url='http://sluice:8000', api_token='12345678')"
    code = CHART.format(values={"proxy": {"https": https}}, names={}) + call
    assert configured(hub_python, code, ADDRESS, **KUBERNETES) == "https://hub.example.org/services/dask-gateway"
    nameless = CHART.format(values={"proxy": {"https": {**https, "hosts": []}}}, names={})
    code = f"{nameless}try:\n    {call}\nexcept Wrong as error:\n    said = str(error)"
    assert "proxy.https.hosts does not name it" in configured(hub_python, code, "said", **KUBERNETES)


def test_services_of_the_chart_may_have_other_names(hub_python: Path) -> None:
    names = {"hub": "lab-hub", "proxy-public": "lab-proxy-public"}
    code = CHART.format(values={}, names=names) + "configure(c, url='http://sluice:8000', api_token='12345678')"
    environ = {f"LAB_{name}": value for name, value in KUBERNETES.items()}
    assert configured(hub_python, code, ADDRESS, **environ) == "http://10.0.0.2:80/services/dask-gateway"


@pytest.mark.parametrize("version", ["as 4 does", "as 5 does", "as 6.2 does", "as 7 does"])
def test_kubespawner_of_every_age_gives_notebooks_what_was_meant(hub_python: Path, version: str) -> None:
    code = f"""
configure(c, url="http://sluice:8000", api_token="12345678", variables=["SCRATCH_BUCKET"])
given = c.KubeSpawner.environment.to_dict()["update"]
called = {{name: value(Spawner()) if callable(value) else value for name, value in given.items()}}
filled = {{name: value.format(username="ada") for name, value in given.items() if isinstance(value, str)}}
told = {{
    "as 4 does": called,
    "as 5 does": {{name: value.format(username="ada") for name, value in called.items()}},
    "as 6.2 does": {{**given, **filled}},
    "as 7 does": {{**called, **filled}},
}}[{version!r}]
"""
    told = configured(hub_python, code, "told", **KUBERNETES)
    assert told["DASK_SLUICE__CLUSTER__OPTIONS__VARIABLES"] == '{"SCRATCH_BUCKET": "{SCRATCH_BUCKET}"}'
    assert told["DASK_GATEWAY__CLUSTER__OPTIONS__IMAGE"] == "{JUPYTER_IMAGE_SPEC}"
    assert told["DASK_GATEWAY__ADDRESS"] == "http://10.0.0.2:80/services/dask-gateway"


def test_a_hook_that_is_there_runs_first_and_a_server_that_is_away_breaks_nothing(hub_python: Path) -> None:
    code = """
import logging
from types import SimpleNamespace
done = []
async def own(spawner):
    done.append("own")
c.Spawner.post_stop_hook = own
configure(c, url="http://127.0.0.1:9", api_token="12345678")
log = SimpleNamespace(warning=lambda text, *values: done.append(text % values))
asyncio.run(c.Spawner.post_stop_hook(SimpleNamespace(user=SimpleNamespace(name="ada"), log=log)))
"""
    own, warned = configured(hub_python, code, "done")
    assert own == "own"
    assert "was not told that a server of ada has ended" in warned


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("url='http://sluice:8000/services/x', api_token='12345678'", "the server's address without a path"),
        ("url='sluice:8000', api_token='12345678'", "the server's address without a path"),
        ("url='http://sluice:8000'", "has no api_token"),
    ],
)
def test_arguments_that_cannot_work_are_refused(hub_python: Path, call: str, sentence: str) -> None:
    code = f"try:\n    configure(c, {call})\nexcept Wrong as error:\n    said = str(error)"
    assert sentence in configured(hub_python, code, "said")


def test_https_at_the_hub_needs_the_address_in_full(hub_python: Path) -> None:
    code = """
c.JupyterHub.ssl_cert = "/etc/hub.pem"
try:
    configure(c, url="http://127.0.0.1:8010", api_token="12345678")
except Wrong as error:
    said = str(error)
"""
    assert "the hub speaks https" in configured(hub_python, code, "said")


def test_the_printed_file_configures_a_hub_by_itself(hub_python: Path, tmp_path: Path) -> None:
    file = tmp_path / "hub_extension.py"
    command = [sys.executable, "-m", "dask_sluice", "hub-extension"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    file.write_text(printed.stdout)
    code = f"exec(open({str(file)!r}).read())"
    environ = {"DASK_SLUICE_HUB_URL": "http://sluice:8000", "DASK_SLUICE_HUB_TOKEN": "12345678"}
    services = configured(hub_python, code, "c.JupyterHub.services.to_dict()['extend']", **environ)
    assert services[0]["url"] == "http://sluice:8000"
