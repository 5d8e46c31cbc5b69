"""One token, for the one account that runs the server: the embedded default, as Jupyter does it.

The token is kept in the data directory, so that a printed address and a saved notebook outlive a
restart; deleting the file makes a new one. Whoever has it can run code as the account anyway.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import pwd
from pathlib import Path

from ..model import Caller
from .files import keep_secret
from .protocol import LoginForm, Shown

TOKEN_FILE = "token"
_SCHEMES = ("bearer", "token", "jupyterhub", "basic")


class TokenAuthenticator:
    """Whoever shows the token is the account that runs the server."""

    form = LoginForm.TOKEN
    challenge = 'Basic realm="dask-sluice"'

    def __init__(self, *, token: str = "", account: str = "") -> None:
        self.account = account or _account()
        self._token = token

    @property
    def token(self) -> str:
        """The token; whoever prints it gives the account away."""
        return self._token

    async def start(self, data_dir: Path) -> None:
        self._token = self._token or keep_secret(data_dir / TOKEN_FILE)

    async def authenticate(self, shown: Shown) -> Caller | None:
        """In Basic the user name is not looked at: dask-gateway's clients fill in the name of the account on *their*
        machine, which may be another one, and the token alone says whose it is.
        """
        if shown.scheme not in _SCHEMES or not self._token:
            return None
        return Caller(self.account) if hmac.compare_digest(shown.secret.encode(), self._token.encode()) else None

    def fingerprint(self, user: str) -> str | None:
        return hashlib.sha256(self._token.encode()).hexdigest() if user == self.account else None


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container that runs under a number without a name
        return getpass.getuser() if os.environ.get("USER") else f"uid{os.geteuid()}"
