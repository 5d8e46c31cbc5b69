"""What the server writes to standard error: one line each, for people or (JSON) for programs.

Whatever is written while a request or a cluster is worked on says which (`about.py`).
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from .about import current
from .settings_schema import Log

FIELDS = "fields"
"""`extra={FIELDS: {...}}`: values that a JSON line has as members of its own; a text line has them in its message."""


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """One line for people; what it is about stands at its end, where the message does not name it already."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s%(appended)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        about = getattr(record, "about", {})
        parts = [f"{key} {value}" for key, value in about.items() if value not in message]
        record.appended = f" ({', '.join(parts)})" if parts else ""
        return super().format(record)


def note_subject(record: logging.LogRecord) -> bool:
    """A filter that lets all pass: it notes what the line is about while that is known."""
    record.about = current()
    return True


def configure(settings: Log) -> None:
    """Send every logger's lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(note_subject)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    # Other people's routine lines are of no use to an administrator.
    for name in ("uvicorn", "httpx", "asyncio", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
