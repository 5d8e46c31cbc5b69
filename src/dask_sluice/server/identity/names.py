"""What a user may be called, and the form of a name that labels of every system accept.

Names end up in logs, pages and, as root, as Unix accounts.
"""

from __future__ import annotations

import hashlib
import re

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
LONGEST = 63
USER_NAME = re.compile(r"\w[\w.@+:| -]{0,127}")


def is_user_name(text: str) -> bool:
    """Letters and digits of any language, blanks inside, and `. _ @ + - : |`, which hubs make of the names that they
    get (`auth0|1234`, `service:ci`); not starting with a sign; at most 128 characters.
    """
    return USER_NAME.fullmatch(text) is not None and not text.endswith(" ")


def escaped(name: str) -> str:
    """A name as a label, a volume's name, a part of a path: as kubespawner's labels have it, where they are valid.

    Every letter but a-z and 0-9 becomes `-` and its bytes in hex. A first letter that is none gets `u-` before it
    (Kubernetes refuses kubespawner's own form there), what is too long ends in a digest. No two names become one.
    """
    text = "".join(
        each if each in _PLAIN else "".join(f"-{byte:02x}" for byte in each.encode("utf-8", "surrogatepass"))
        for each in name
    )
    if text[:1] not in _PLAIN:
        text = f"u-{text}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 10].rstrip('-')}--{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return text
