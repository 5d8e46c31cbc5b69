"""The client's settings: arguments, then `sluice:`, then dask-gateway's `gateway:`."""

import ast
import os
import subprocess
import sys
import warnings

import dask.config
import pytest

import dask_sluice
from dask_sluice import BasicAuth, Gateway, JupyterHubAuth, KerberosAuth, TokenAuth
from dask_sluice.client.auth import make_auth
from dask_sluice.client.config import fill, setting
from dask_sluice.client.connection import split_address

from ..live import LiveServer


def test_every_public_name_can_be_imported() -> None:
    assert sorted(dask_sluice.__all__) == dask_sluice.__all__
    for name in dask_sluice.__all__:
        assert getattr(dask_sluice, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Gatway'"):
        _ = dask_sluice.Gatway


def test_our_section_goes_before_dask_gateways() -> None:
    with dask.config.set({"gateway.address": "http://old", "sluice.address": "http://new"}):
        assert setting("address") == "http://new"
    with dask.config.set({"gateway.address": "http://old"}):
        assert setting("address") == "http://old"


def test_variables_are_filled_in_and_other_braces_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", "ice")
    assert fill("http://{TEAM}/{not_set}/{}") == "http://ice/{not_set}/{}"


def test_without_an_address_it_is_said_where_to_put_one() -> None:
    with pytest.raises(ValueError, match=r"sluice\.address"):
        Gateway()


@pytest.mark.parametrize("address", ["localhost:8000", "tls://x", "http://", "/path"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        split_address(address)


def test_the_token_is_taken_out_of_the_address() -> None:
    assert split_address("http://[::1]:8000/dask/?token=secret") == ("http://[::1]:8000/dask", "secret")


def test_who_we_are_follows_the_address_the_argument_and_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_auth(token="t").header() == "Bearer t"
    assert isinstance(make_auth("basic", token="t"), BasicAuth)
    assert make_auth(TokenAuth("x")).header() == "Bearer x"
    with dask.config.set({"gateway.auth": {"type": "basic", "kwargs": {"username": "{WHO}", "password": "p"}}}):
        monkeypatch.setitem(os.environ, "WHO", "ada")
        assert make_auth().header() == "Basic YWRhOnA="
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "hub")
    assert make_auth().header() == "jupyterhub hub"


def test_what_cannot_be_a_login_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="'passport' is not known\nKnown are token, basic"):
        make_auth("passport")
    with pytest.raises(TypeError, match="must have a method"):
        make_auth(7)
    with pytest.raises(ValueError, match="JUPYTERHUB_API_TOKEN"):
        JupyterHubAuth()
    with pytest.raises(NotImplementedError, match="Kerberos"):
        KerberosAuth()


def test_what_hubs_set_for_dask_gateway_in_the_environment_is_enough(live_server: LiveServer) -> None:
    environment = {
        **os.environ,
        "DASK_GATEWAY__ADDRESS": live_server.url,
        "DASK_GATEWAY__PROXY_ADDRESS": "gateway://traefik-prod-dask-gateway.prod:80",
        "DASK_GATEWAY__PUBLIC_ADDRESS": "/services/dask-gateway/",
        "DASK_GATEWAY__CLUSTER__OPTIONS__WORKER_MEMORY": "0.5",
        "DASK_GATEWAY__CLUSTER__OPTIONS__ENVIRONMENT": "{ENVIRONMENT_OF_THE_NOTEBOOK}",
        "ENVIRONMENT_OF_THE_NOTEBOOK": "/opt/envs/x",
    }
    program = "import dask_sluice as d; print(dict(d.Gateway().cluster_options()))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    options = ast.literal_eval(done.stdout)
    assert (options["worker_memory"], options["environment"]) == (0.5, "/opt/envs/x")


def test_a_variable_that_a_notebook_lacks_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH_BUCKET", "s3://a")
    options = {"image": "{NO_IMAGE_HERE}", "environment": {"SCRATCH_BUCKET": "{SCRATCH_BUCKET}", "NOT": "{NOT_THERE}"}}
    with dask.config.set({"gateway.cluster.options": options}), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert setting("cluster.options") == {"environment": {"SCRATCH_BUCKET": "s3://a"}}
    said = " ".join(str(each.message) for each in told)
    assert "NO_IMAGE_HERE" in said
    assert "NOT_THERE" in said
