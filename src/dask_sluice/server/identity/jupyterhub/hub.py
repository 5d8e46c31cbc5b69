"""The hub's API over HTTP: who has a token, which servers a user runs, a token for a code.

A hub that is away is one error with its reason, never "wrong token": people would look for the fault at their end.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from ....wire.errors import AuthenticationRequired, IdentityUnavailable
from ...startup import CannotStart
from .place import Place
from .settings import JupyterHubSettings

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
AT_ONCE = httpx.Limits(max_connections=20, keepalive_expiry=60.0)
"""A hub is one process: more questions at a time would only make it slower for everybody."""
RETRY_S = 3.0


class Hub:
    """One hub."""

    def __init__(self, place: Place, settings: JupyterHubSettings) -> None:
        self._place = place
        # Nothing on the way to the hub is meant to see tokens: no proxy from the environment.
        self._http = httpx.AsyncClient(timeout=TIMEOUT, limits=AT_ONCE, verify=_tls(place, settings), trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def owner_of(self, token: str) -> Mapping[str, Any] | None:
        """The hub's model of the user or service whose token this is; None where it is nobody's.

        raises  IdentityUnavailable
        """
        response = await self._ask("GET", "/user", token)
        if response.status_code in (401, 403):
            return None
        model = self._json(response)
        if not isinstance(model.get("name"), str) or not model["name"]:
            raise self._away("its answer names no user")
        return model

    async def servers_of(self, user: str, token: str) -> Mapping[str, Any]:
        """The user's servers that run or are starting, by name; none where the hub knows no such user.

        token   of a service that may read all users' servers; of another one the answer would be the same as of a
                user who is gone
        raises  IdentityUnavailable
        """
        response = await self._ask("GET", f"/users/{quote(user, safe='')}", token)
        if response.status_code == 404:
            return {}
        servers = self._json(response).get("servers")
        if not isinstance(servers, dict):
            raise self._away("its answer tells of no servers")
        return servers

    async def token_for(self, code: str, verifier: str, callback_url: str, secret: str) -> str:
        """The token that a browser's code stands for (OAuth 2, RFC 6749, section 4.1.3).

        raises  AuthenticationRequired where the hub refuses it; IdentityUnavailable
        """
        form = {
            "client_id": self._place.client_id,
            "client_secret": secret,
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": callback_url,
        }
        response = await self._ask("POST", "/oauth2/token", form=form)
        if response.status_code in (400, 401, 403):
            raise AuthenticationRequired(
                "JupyterHub does not accept this login",
                hint="Try again. If it fails each time, the service's token here is another one than at the hub.",
            )
        token = self._json(response).get("access_token")
        if not isinstance(token, str) or not token:
            raise self._away("it gave no token for a login")
        return token

    async def _ask(
        self, method: str, path: str, token: str = "", form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        headers = {"Accept": "application/json", **({"Authorization": f"token {token}"} if token else {})}
        try:
            return await self._http.request(method, self._place.api_url + path, headers=headers, data=form)
        except (httpx.HTTPError, OSError) as error:  # OSError: certificates that cannot be read
            raise self._away(str(error) or type(error).__name__) from error

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        """The answer's object. Anything else than success with JSON is no hub, or one in trouble."""
        if not response.is_success:
            raise self._away(f"status {response.status_code}")
        try:
            document = response.json()
        except ValueError as error:
            raise self._away("its answer is not JSON; is this the address of its API?") from error
        if not isinstance(document, dict):
            raise self._away("its answer is no object")
        return document

    def _away(self, why: str) -> IdentityUnavailable:
        return IdentityUnavailable(
            "JupyterHub, which knows the users, does not answer as it should",
            hint="Nothing is wrong with your token. Try again in a minute; clusters go on meanwhile.",
            details={"hub": self._place.api_url, "why": why},
            retry_after_s=RETRY_S,
        )


def _tls(place: Place, settings: JupyterHubSettings) -> ssl.SSLContext | bool:
    """How the hub's certificate is checked; CannotStart where a file is of no use."""
    if not place.api_url.startswith("https:"):
        return False
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None and settings.key_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise CannotStart(
            f"a certificate for the JupyterHub cannot be used: {error}",
            hint="Look at ca_file, certificate_file and key_file of authenticator.jupyterhub.",
        ) from error
    return context
