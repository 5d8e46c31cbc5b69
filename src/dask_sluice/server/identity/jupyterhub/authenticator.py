"""The authenticator `jupyterhub`: whoever has a token of the hub is who the hub says.

The hub's answers are remembered for some seconds, by the hash of the token: a notebook at work asks often, a hub is
slow. While the hub is away the last answer counts a while longer, so that its restart interrupts nobody; there is no
throttle by address, since behind the hub's proxy everybody has the same one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ....wire.errors import AuthenticationRequired, IdentityUnavailable, SluiceError
from ...clock import Clock, SystemClock
from ...model import Caller
from ...startup import CannotStart
from ..protocol import LoginForm, Shown
from .callers import caller_of, running
from .hub import RETRY_S, Hub
from .place import Place, place
from .settings import JupyterHubSettings

log = logging.getLogger(__name__)

_SCHEMES = ("jupyterhub", "bearer", "token", "basic")
MOST_REMEMBERED = 10_000
SERVERS_SCOPE = "read:servers"


@dataclass(frozen=True)
class _Answer:
    """What the hub said of a token; `model` None: that it is nobody's."""

    model: Mapping[str, Any] | None
    time: float


class JupyterHubAuthenticator:
    """Asks the hub."""

    form = LoginForm.ELSEWHERE
    challenge = "jupyterhub"
    login_name = "JupyterHub"

    def __init__(
        self,
        *,
        settings: JupyterHubSettings | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or JupyterHubSettings()
        self._clock: Clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}
        self._warned = False
        self._trouble: tuple[float, IdentityUnavailable] | None = None

    async def start(self, data_dir: Path) -> None:
        """raises  CannotStart where nothing says where the hub is, or a file is not there"""  # noqa: D403
        self._place: Place = place(self._settings, self._environ)
        try:
            has_token = bool(self._place.service_token())
        except OSError as error:
            raise CannotStart(
                f"authenticator.jupyterhub.service_token: its file cannot be read: {error}",
                hint="It holds the token that the hub's configuration gives to our service.",
            ) from error
        self._hub = Hub(self._place, self._settings)
        log.info(
            "users are those of the JupyterHub at %s; we are its service %s", self._place.api_url, self._place.service
        )
        if not has_token:
            log.warning(
                "there is no token of our service at the hub: nobody can log in in a browser, and clusters do not end "
                "with their notebook servers; see authenticator.jupyterhub.service_token"
            )

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._hub.close()

    async def authenticate(self, shown: Shown) -> Caller | None:
        """With Basic the token is the password, and the name is not looked at: the token alone says whose it is."""
        if shown.scheme not in _SCHEMES or not shown.secret or not shown.secret.isascii():
            return None
        answer = await self._answer(shown.secret)
        return None if answer.model is None else caller_of(answer.model, self._place, self._settings)

    def fingerprint(self, user: str) -> str | None:
        """Sessions end when the hub no longer knows what they hold, and for no other reason."""
        return "jupyterhub"

    # -- LogsInElsewhere

    def login_url(self, state: str, verifier: str, prefix: str) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "client_id": self._place.client_id,
            "redirect_uri": self._callback_url(prefix),
            "response_type": "code",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self._place.authorize_url}?{urlencode(query)}"

    async def proof(self, code: str, verifier: str, prefix: str) -> str:
        secret = self._service_token()
        if not secret:
            raise AuthenticationRequired(
                "this server has no token of its own at the hub, without which nobody can log in here in a browser",
                hint="An administrator sets authenticator.jupyterhub.service_token.",
            )
        return await self._hub.token_for(code, verifier, self._callback_url(prefix), secret)

    def _callback_url(self, prefix: str) -> str:
        return self._place.callback_url or f"{prefix}/oauth_callback"

    # -- KnowsNotebooks

    async def notebooks(self, user: str) -> Mapping[str, str] | None:
        """None without a service token with the scope `read:servers`: the hub would answer as if there were none."""
        token = self._service_token()
        try:
            if not token or not await self._may_read_servers(token):
                return None
            return running(await self._hub.servers_of(user, token), user)
        except SluiceError as error:
            log.debug("cannot tell which servers %s has: %s", user, error)
            return None

    def is_herald(self, shown: Shown) -> bool:
        token = self._service_token()
        return bool(token) and hmac.compare_digest(shown.secret.encode(), token.encode())

    async def _may_read_servers(self, token: str) -> bool:
        model = (await self._answer(token)).model
        may = model is not None and SERVERS_SCOPE in (model.get("scopes") or ())
        if not may and not self._warned:
            log.warning(
                "our service at the hub lacks the scope %s: clusters do not end with their notebook servers",
                SERVERS_SCOPE,
            )
        self._warned = not may
        return may

    def _service_token(self) -> str:
        try:
            return self._place.service_token()
        except OSError as error:
            log.warning("authenticator.jupyterhub.service_token: its file cannot be read: %s", error)
            return ""

    # -- what the hub says of a token

    async def _answer(self, token: str) -> _Answer:
        """Remembered, else asked; who asks about a token that is being asked about waits for the same answer."""
        key, now = hashlib.sha256(token.encode()).digest(), self._clock.now()
        known = self._answers.get(key)
        if known is not None and now - known.time < self._settings.remember_s:
            return known
        try:
            return await asyncio.shield(self._asking.get(key) or self._begin(key, token))
        except IdentityUnavailable:
            if known is not None and known.model and now - known.time < self._settings.remember_while_away_s:
                return known
            raise

    def _begin(self, key: bytes, token: str) -> asyncio.Task[_Answer]:
        task = self._asking[key] = asyncio.create_task(self._ask(key, token), name="ask the hub")
        task.add_done_callback(lambda done: self._asked(key, done))
        return task

    async def _ask(self, key: bytes, token: str) -> _Answer:
        if self._trouble is not None and self._clock.now() - self._trouble[0] < RETRY_S:
            raise self._trouble[1]  # a hub that takes connections and does not answer must not hold up everybody
        try:
            model = await self._hub.owner_of(token)
        except IdentityUnavailable as error:
            self._trouble = self._clock.now(), error
            log.warning("%s: %s", error.message, error.details["why"])
            raise
        self._trouble, answer = None, _Answer(model, self._clock.now())
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    def _asked(self, key: bytes, done: asyncio.Task[_Answer]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # whoever waited has it; perhaps nobody does any more
