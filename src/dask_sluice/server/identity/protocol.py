"""What an authenticator is: it turns what a caller shows into a name, and says what to show.

Registered by entry point (group `dask_sluice.authenticators`) or named by import path. Construction has
no side effects; `start` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..model import Caller


class LoginForm(StrEnum):
    """What the login page asks for."""

    TOKEN = "token"
    PASSWORD = "password"
    ELSEWHERE = "elsewhere"
    """Nothing: the browser is sent to somebody else's page (`LogsInElsewhere`)."""


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

        raises  LimitExceeded where too many attempts have failed; PermissionDenied where it is known who this is, and
                they may not come in; IdentityUnavailable where nobody can tell now
        """

    def fingerprint(self, user: str) -> str | None:
        """Changes whenever the user's browser sessions must end; None: there is no such user (any more)."""


@runtime_checkable
class LogsInElsewhere(Protocol):
    """An authenticator whose users log in on another web site (OAuth 2, authorization code).

    What they show is kept, sealed, in their session, and `authenticate` is asked about it with each request.
    """

    login_name: str
    """What the other site is called, for the button."""

    def login_url(self, state: str, verifier: str, prefix: str) -> str:
        """Where to send the browser.

        verifier    the secret of this login (PKCE, RFC 7636), of which the other site is told a hash
        prefix      the path under which this server is reached
        """

    async def proof(self, code: str, verifier: str, prefix: str) -> str:
        """What the code that the browser brought back stands for: something for `authenticate`, as a bearer token.

        raises  AuthenticationRequired, IdentityUnavailable
        """


@runtime_checkable
class KnowsNotebooks(Protocol):
    """An authenticator that can tell which notebook servers run, and is told when one ends."""

    async def notebooks(self, user: str) -> Mapping[str, str] | None:
        """The user's running notebook servers, as in `Caller.notebook`, each with a text that another run of it does
        not have; None where nobody can tell.
        """

    def is_herald(self, shown: Shown) -> bool:
        """Whether this comes from whoever may say that a notebook server has ended."""


@runtime_checkable
class Closes(Protocol):
    """An authenticator that holds something open."""

    async def close(self) -> None:
        """Let go of it."""
