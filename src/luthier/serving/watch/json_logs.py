"""Logs as JSON objects, one a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_settings(form: str) -> dict[str, object]:
    """The logging configuration of uvicorn: "text" or "json" on stderr, warnings and worse."""
    formatter: dict[str, object] = {"format": "%(levelname)s: %(message)s"}
    if form == "json":
        formatter = {"()": "luthier.serving.watch.json_logs.JsonLines"}
    handler = {"class": "logging.StreamHandler", "formatter": "line"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"luthier.serving": {"level": "INFO"}},
    }
