"""Code run in a user's notebook server, in a real kernel, by way of the hub's proxy."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Callable

import httpx
from websockets.sync.client import connect

from ..live import PATIENCE_S
from .api import HubApi


class Notebook:
    """One kernel in the notebook server of this user."""

    def __init__(self, hub: HubApi, user: str, server: str = "") -> None:
        self._base = f"{hub.address}/user/{user}/{server + '/' if server else ''}api/kernels"
        self._headers = {"Authorization": f"token {hub.default_token}"}
        self._tls = hub.verify if isinstance(hub.verify, ssl.SSLContext) else None
        answer = httpx.post(
            self._base, headers=self._headers, json={"name": "python3"}, timeout=PATIENCE_S, verify=hub.verify
        )
        answer.raise_for_status()
        self._id = answer.json()["id"]

    def run(self, code: str, *, tell: Callable[[str], object] = lambda text: None) -> str:
        """What the code prints; AssertionError with its traceback where it fails. `tell` gets each piece at once."""
        url = f"ws{self._base.removeprefix('http')}/{self._id}/channels"
        message_id, printed = uuid.uuid4().hex, ""
        header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": "", "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": {"code": code}, "channel": "shell"}
        options = {
            "additional_headers": self._headers,
            "max_size": None,
            "open_timeout": 2 * PATIENCE_S,
            "ssl": self._tls,
        }
        with connect(url, proxy=None, **options) as socket:  # type: ignore[arg-type]
            socket.send(json.dumps(message))
            while True:
                said = json.loads(socket.recv(timeout=PATIENCE_S))
                if said["parent_header"].get("msg_id") != message_id:
                    continue
                content = said["content"]
                if said["msg_type"] == "stream" and content["name"] == "stdout":
                    printed += content["text"]
                    tell(content["text"])
                elif said["msg_type"] == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif said["msg_type"] == "status" and content["execution_state"] == "idle":
                    return printed
