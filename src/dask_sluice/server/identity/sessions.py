"""Browser sessions: a sealed cookie that says who and until when, so that nothing has to be stored.

It holds the authenticator's fingerprint of the user, so a changed password or token, or a user who was removed, ends
the session at once. Where users are known elsewhere it holds what they showed instead, and is checked with it each
time: sealed, so that neither a browser's other pages nor our own database ever has it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken

Fingerprint = Callable[[str], str | None]


@dataclass(frozen=True)
class Session:
    """Whose session it is, and what to ask the authenticator about again; empty where the fingerprint does."""

    user: str
    proof: str = ""


class Seal:
    """Makes texts that nobody else can read or make. `purpose`: what is sealed for one is no use for another."""

    def __init__(self, key: str, purpose: str) -> None:
        digest = hashlib.sha256(f"{purpose}\0{key}".encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest))

    def close(self, content: list[str | int]) -> str:
        return self._fernet.encrypt(json.dumps(content).encode()).decode()

    def open(self, sealed: str) -> list[str | int] | None:
        """What was sealed; None where this is not ours."""
        try:
            content = json.loads(self._fernet.decrypt(sealed.encode("utf-8", "replace")))
        except (InvalidToken, ValueError):
            return None
        return content if isinstance(content, list) else None


class Sessions:
    """Makes and reads session cookies."""

    def __init__(self, key: str, fingerprint: Fingerprint, *, session_s: float) -> None:
        self._seal = Seal(key, "session")
        self.logins = Seal(key, "login")
        """For what a browser brings back from a login elsewhere."""
        self._fingerprint = fingerprint
        self.session_s = session_s
        # Browsers do not tell ports apart: two servers on one machine need cookies of different names.
        self.cookie_name = "sluice-" + hashlib.sha256(b"cookie name" + key.encode()).hexdigest()[:8]

    def create(self, user: str, now: float, proof: str = "") -> str:
        """The value of a cookie for this user."""
        return self._seal.close([int(now + self.session_s), user, self._fingerprint(user) or "", proof])

    def read(self, cookie: str, now: float) -> Session | None:
        """Whose cookie this is; None where it is not ours, has expired or was ended."""
        match self._seal.open(cookie):
            case [int(expiry), str(user), str(fingerprint), str(proof)] if expiry > now:
                return Session(user, proof) if fingerprint and fingerprint == self._fingerprint(user) else None
        return None
