"""Writes `server/openapi.json`: the API as it is described to others, checked in so that changes show in review."""

from __future__ import annotations

import json
from pathlib import Path

from .app import bare_app

FILE = Path(__file__).parent.parent / "openapi.json"


def document() -> str:
    """The file's text."""
    return json.dumps(bare_app().openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
