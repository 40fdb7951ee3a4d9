"""The server's log: lines for people, or JSON objects for machines, on standard output."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

from serving.server import observer

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_LOGGER = logging.getLogger("serving.server")


def set_up(form: str, level: str) -> None:
    """Lets the server's loggers write to standard output.

    Args:
        form: one of `FORMATS`.
        level: one of `LEVELS`, the least that is written.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False
    observer.ACCESS.setLevel(logging.INFO)  # whether there is an access log is said by its share


def always(message: str) -> None:
    """Logs what is written whatever the level is."""
    _LOGGER.handle(_LOGGER.makeRecord(_LOGGER.name, logging.INFO, "", 0, message, (), None))


class TextFormatter(logging.Formatter):
    """A line a message, so that no name of clients or files looks like a line of the log; tracebacks have more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return escaped(super().formatMessage(record) + fields)


class JsonFormatter(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `message`, what the record adds, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # in ASCII: nothing in it steers a terminal


def escaped(text: str) -> str:
    """The text without line breaks and what else would steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the record adds (`extra={"fields": …}`), and the ids of the request that its thread is at."""
    fields = dict(getattr(record, "fields", {}))
    request = observer.current()
    if request is not None:
        fields["request_id"] = request.request_id
        if request.trace_id != request.request_id:
            fields["trace_id"] = request.trace_id
    return fields
