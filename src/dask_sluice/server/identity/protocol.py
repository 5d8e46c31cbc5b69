"""What an authenticator is: it turns what a caller shows into a name, and says what to show.

Registered by entry point (group `dask_sluice.authenticators`) or named by import path. Construction has
no side effects; `start` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ..model import Caller


class LoginForm(StrEnum):
    """What the login page asks for."""

    TOKEN = "token"
    PASSWORD = "password"


@dataclass(frozen=True)
class Shown:
    """What a caller shows of themselves: a scheme (lower case) with a secret, and with a name for `basic`.

    `address` is where the call comes from, for whoever counts failures.
    """

    scheme: str
    secret: str
    user: str = ""
    address: str = ""


class Authenticator(Protocol):
    """Who a caller is. What they may do is not decided here."""

    form: LoginForm
    challenge: str
    """The `WWW-Authenticate` header that tells dask-gateway's clients how to try again."""

    async def start(self, data_dir: Path) -> None:
        """Become ready; `data_dir` is the server's own folder. Called once, before anything else."""

    async def authenticate(self, shown: Shown) -> Caller | None:
        """The caller, or None where this proves nobody.

        raises  LimitExceeded where too many attempts have failed
        """

    def fingerprint(self, user: str) -> str | None:
        """Changes whenever the user's browser sessions must end; None: there is no such user (any more)."""
