"""What Kubernetes accepts as names, as keys and values of labels, as amounts. Pure."""

from __future__ import annotations

import re

LONGEST = 63
FOLDER = "/sluice"
"""Where what we bring along is mounted in a pod."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"(?:(?=[^/]{1,253}/)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")


def is_name(text: str) -> bool:
    """A DNS label, as namespaces and our objects are called."""
    return _NAME.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """`hub.jupyter.org/username`: of a label, of an annotation."""
    return _LABEL_KEY.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Letters, digits and `- _ .`, at most 63 of them; it may be empty."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_folder(text: str) -> bool:
    """An absolute path at which a volume may be mounted: neither the root nor ours."""
    return text.startswith("/") and text.strip("/") != "" and not f"{text}/".startswith(f"{FOLDER}/")


def is_quantity(text: str) -> bool:
    """`500m`, `2Gi`."""
    return _QUANTITY.fullmatch(text) is not None
