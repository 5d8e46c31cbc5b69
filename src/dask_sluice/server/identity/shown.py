"""The `Authorization` header, read. Malformed input shows nothing; it never raises."""

from __future__ import annotations

import base64
import binascii

from .protocol import Shown


def from_header(header: str, address: str = "") -> Shown | None:
    """What an `Authorization` header shows, or None where it makes no sense."""
    scheme, _, value = header.strip().partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if not value:
        return None
    if scheme != "basic":
        return Shown(scheme, value, address=address)
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, secret = _text(raw).partition(":")
    return Shown(scheme, secret, user, address) if colon else None


def _text(raw: bytes) -> str:
    """RFC 7617 lets the server choose; browsers send UTF-8, dask-gateway's clients Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
