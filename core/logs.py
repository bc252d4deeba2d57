"""Logging, configured once per process."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from typing_extensions import override

run_context: ContextVar[str] = ContextVar("run_context", default="")

QUIET_LIBRARIES = ("httpx", "httpcore", "kombu", "amqp", "urllib3", "matplotlib", "alembic")


class _RunFilter(logging.Filter):
    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.run = run_context.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if run := getattr(record, "run", ""):
            line["run"] = run
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(log_format: str = "text", level: int = logging.INFO) -> None:
    """Send all log records of this process to standard error.

    Args:
        log_format: ``text`` for a terminal, ``json`` for one object a line.
        level: Lowest level that is shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RunFilter())
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
