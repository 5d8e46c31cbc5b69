"""What a user gets with `pip install dask-sluice`: the client, on the oldest Python that it promises."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.environments import EnvironmentFailed, environment, find_uv

from ..conftest import not_here
from ..live import PATIENCE_S, LiveServer

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
STEPS = """
import importlib.util, sys
from dask_sluice import Gateway
from distributed import wait
with Gateway(sys.argv[1]) as gateway:
    options = gateway.cluster_options()
    assert importlib.util.find_spec("ipywidgets") is None and options.form() is None
    options.environment = sys.argv[2]
    with gateway.new_cluster(options) as cluster:
        cluster.scale(2)
        with cluster.get_client() as client:
            futures = client.map(lambda number: number + 1, range(10))
            wait(futures)
            print(sum(client.gather(futures)))
            cluster.adapt(minimum=0, maximum=1)
        assert "GatewayCluster" in repr(cluster)
"""


def installed(name: str) -> Path:
    """An interpreter whose environment has our client, freshly built and installed."""
    try:
        interpreter = environment(name)
    except EnvironmentFailed as error:
        not_here(str(error))
    install = [
        find_uv(),
        "pip",
        "install",
        "--quiet",
        "--reinstall-package",
        "dask-sluice",
        "--python",
        str(interpreter),
    ]
    subprocess.run([*install, str(ROOT)], check=True)
    return interpreter


@pytest.fixture(scope="module", params=["user-newest", "user-2022.4.0"])
def python(request: pytest.FixtureRequest) -> Path:
    return installed(request.param)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_plain_client_computes(python: Path, live_server: LiveServer) -> None:
    done = run(python, "-c", STEPS, live_server.url, python.parents[1])
    assert (done.stdout, done.stderr, done.returncode) == ("55\n", "", 0)


def test_the_command_line_is_there_and_the_server_says_what_it_needs(python: Path, live_server: LiveServer) -> None:
    bin_ = python.parent
    assert run(bin_ / "dask-sluice", "list", "--address", live_server.url).returncode == 0
    assert run(python, "-m", "dask_sluice", "options", "--address", live_server.url, "--json").returncode == 0
    refused = run(bin_ / "dask-sluice", "serve")
    assert (refused.returncode, refused.stderr) == (1, "dask-sluice: the server needs Python 3.11 or newer\n")


def test_it_is_a_command_of_dask_too() -> None:
    helped = run(installed("user-newest").parent / "dask", "sluice", "--help")
    assert "Start a server" in helped.stdout  # in the list of commands
