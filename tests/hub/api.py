"""A hub's REST API, as a person with a token, or a BinderHub, uses it; wherever the hub runs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from ..live import until


class HubApi:
    """One hub, with one token.

    address    of its proxy, base URL included, no slash at the end
    api_url    of its API
    token      whose rights count where no other is given
    verify     how its certificate is checked
    """

    def __init__(self, address: str, api_url: str, token: str, verify: ssl.SSLContext | bool = True) -> None:
        self.address, self.api_url, self.default_token, self.verify = address, api_url, token, verify

    def story(self) -> str:
        """What is known about it, for whoever looks into a failure."""
        return ""

    def api(self, method: str, path: str, token: str = "", **options: Any) -> Any:
        """An answer of the hub's API."""
        headers = {"Authorization": f"token {token or self.default_token}"}
        answer = httpx.request(
            method, self.api_url + path, headers=headers, timeout=30, verify=self.verify, trust_env=False, **options
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}\n{self.story()}"
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
        until(lambda: self.server_of(user, name).get("ready"), f"the server of {user} is ready:\n{self.story()}")

    def stop_server(self, user: str, name: str = "") -> None:
        """Return when it has ended."""
        self.api("DELETE", f"/users/{user}/servers/{name}" if name else f"/users/{user}/server")
        until(lambda: not self.server_of(user, name), f"the server of {user} has ended")

    def server_of(self, user: str, name: str = "") -> dict[str, Any]:
        return dict(self.api("GET", f"/users/{user}")["servers"].get(name, {}))
