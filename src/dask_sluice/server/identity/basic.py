"""User names and passwords: each user's own, kept as a hash, or one shared by all."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from ..clock import Clock, SystemClock
from ..model import Caller
from .names import is_user_name
from .passwords import hash_password, verify
from .protocol import LoginForm, Shown
from .throttle import Throttle


class BasicAuthenticator:
    """Give either `users` (names and password hashes) or one `password` that fits every name."""

    form = LoginForm.PASSWORD
    challenge = 'Basic realm="dask-sluice"'

    def __init__(
        self, *, users: Mapping[str, str] | None = None, password: str | None = None, clock: Clock | None = None
    ) -> None:
        self._users = dict(users or {})
        self._password = password
        self._clock: Clock = clock or SystemClock()
        self._throttle = Throttle()
        # Programs send their password with every call; a hash each time would cost 60 ms of a core.
        self._proven: dict[str, bytes] = {}
        self._key = os.urandom(32)
        # Hashing is meant to be dear: at most two at a time, so that guessing cannot take all cores.
        self._hashing = asyncio.Semaphore(2)
        self._nobody = ""

    async def start(self, data_dir: Path) -> None:
        self._nobody = await asyncio.to_thread(hash_password, os.urandom(16).hex())

    async def authenticate(self, shown: Shown) -> Caller | None:
        if shown.scheme != "basic":
            return None
        self._throttle.check(shown.address, self._clock.now())
        if is_user_name(shown.user) and await self._fits(shown):
            return Caller(shown.user)
        self._throttle.failed(shown.address, self._clock.now())
        return None

    def fingerprint(self, user: str) -> str | None:
        stored = self._users.get(user, self._password)
        return None if stored is None else hashlib.sha256(stored.encode()).hexdigest()

    async def _fits(self, shown: Shown) -> bool:
        user, secret = shown.user, shown.secret
        if self._password is not None:
            return hmac.compare_digest(secret.encode(), self._password.encode())
        proof = hmac.digest(self._key, f"{user}\0{secret}".encode(), "sha256")
        if hmac.compare_digest(self._proven.get(user, b""), proof):
            return True
        # An unknown name is hashed too: the time an answer takes must not tell which names exist.
        async with self._hashing:
            self._throttle.check(shown.address, self._clock.now())  # many may have failed while this one waited
            fits = await asyncio.to_thread(verify, secret, self._users.get(user, self._nobody))
        if not fits or user not in self._users:
            return False
        self._proven[user] = proof
        return True
