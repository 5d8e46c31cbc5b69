"""What a user may be called. Names end up in logs, pages and, as root, as Unix accounts."""

from __future__ import annotations

import re

USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}")


def is_user_name(text: str) -> bool:
    """Letters, digits and `. _ @ + -`, not starting with a sign; at most 128 characters."""
    return USER_NAME.fullmatch(text) is not None
