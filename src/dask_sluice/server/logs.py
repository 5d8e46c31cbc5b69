"""What the server writes to standard error: one line each, for people or (JSON) for programs."""

from __future__ import annotations

import json
import logging
import sys

from .settings_schema import Log


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(settings: Log) -> None:
    """Send every logger's lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonLines() if settings.format == "json" else plain)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    # Other people's routine lines are of no use to an administrator.
    for name in ("uvicorn", "httpx", "asyncio", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
