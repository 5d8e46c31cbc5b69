"""Container images: which are named exactly enough, and which are allowed."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from ..settings_policy import Images

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::(?P<tag>[A-Za-z0-9_][\w.-]{{0,127}}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)


def wrong_with_image(image: str, rules: Images) -> str:
    """Why this image may not run, as a sentence without its subject; empty where it may."""
    found = _IMAGE.fullmatch(image) if len(image) <= 1000 else None
    if found is None:
        return f"must be an image such as 'registry.example.org/lab/dask:2025.1', got {image!r}"
    if rules.require_tag and not found["tag"] and not found["digest"]:
        return f"must name a tag or digest: {image!r} would change without anybody saying so; write '{image}:TAG'"
    if rules.allowed is not None and not any(fnmatchcase(image, pattern) for pattern in rules.allowed):
        return f"must be one of {', '.join(rules.allowed) or 'none'}, got {image!r}"
    return ""
