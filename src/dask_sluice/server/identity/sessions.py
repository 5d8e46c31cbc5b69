"""Browser sessions: a signed cookie that says who and until when, so that nothing has to be stored.

The signature covers the authenticator's fingerprint of the user, so a changed password or token, or a
user who was removed, ends the session at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

Fingerprint = Callable[[str], str | None]


class Sessions:
    """Makes and checks session cookies."""

    def __init__(self, key: str, fingerprint: Fingerprint, *, session_s: float) -> None:
        self._key = key.encode()
        self._fingerprint = fingerprint
        self.session_s = session_s
        # Browsers do not tell ports apart: two servers on one machine need cookies of different names.
        self.cookie_name = "sluice-" + hashlib.sha256(b"cookie name" + self._key).hexdigest()[:8]

    def create(self, user: str, now: float) -> str:
        """The value of a cookie for this user."""
        expiry = int(now + self.session_s)
        name = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
        return f"{expiry}.{name}.{self._signature(expiry, user)}"

    def user(self, cookie: str, now: float) -> str | None:
        """Whose cookie this is; None where it is not ours, has expired or was ended."""
        try:
            expiry_text, name, signature = cookie.split(".")
            expiry = int(expiry_text)
            user = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except (ValueError, binascii.Error):
            return None
        if expiry <= now or self._fingerprint(user) is None:
            return None
        return user if hmac.compare_digest(signature.encode(), self._signature(expiry, user).encode()) else None

    def _signature(self, expiry: int, user: str) -> str:
        message = f"session\0{expiry}\0{user}\0{self._fingerprint(user)}".encode()
        return hmac.digest(self._key, message, "sha256").hex()
