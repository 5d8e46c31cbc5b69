"""What a user may be called. Names end up in logs, pages and, as root, as Unix accounts."""

from __future__ import annotations

import re

USER_NAME = re.compile(r"\w[\w.@+:| -]{0,127}")


def is_user_name(text: str) -> bool:
    """Letters and digits of any language, blanks inside, and `. _ @ + - : |`, which hubs make of the names that they
    get (`auth0|1234`, `service:ci`); not starting with a sign; at most 128 characters.
    """
    return USER_NAME.fullmatch(text) is not None and not text.endswith(" ")
