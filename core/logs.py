"""Logging, configured once per process; each line names the runs that it is about."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

QUIET_LIBRARIES = ("httpx", "httpcore", "kombu", "amqp", "urllib3", "matplotlib", "alembic")


@dataclass(frozen=True)
class LoggedRun:
    """An attempt that log lines are about.

    Attributes:
        run: Short name for people, for example ``S3-12``.
        attempt: Counts the claims of the run, from 1.
        fence: Number that the attempt's writes carry.
    """

    run: str
    attempt: int = 0
    fence: int = 0


_about: ContextVar[tuple[LoggedRun, ...]] = ContextVar("about", default=())


@contextmanager
def log_context(run: str, attempt: int = 0, fence: int = 0) -> Iterator[None]:
    """Say that all log lines of this thread are about one attempt, until the end of the block."""
    with log_contexts([LoggedRun(run, attempt, fence)]):
        yield


@contextmanager
def log_contexts(about: Iterable[LoggedRun]) -> Iterator[None]:
    """Say that all log lines of this thread are about several attempts, until the block's end."""
    token = _about.set(tuple(about))
    try:
        yield
    finally:
        _about.reset(token)


class _AboutFilter(logging.Filter):
    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.about = _about.get()
        return True


def _fields(about: tuple[LoggedRun, ...]) -> dict[str, Any]:
    """Fields ``run``, ``attempt`` and ``fence``: of several attempts one list each."""
    columns: dict[str, list[Any]] = {
        "run": [item.run for item in about],
        "attempt": [item.attempt for item in about],
        "fence": [item.fence for item in about],
    }
    return {name: values[0] if len(values) == 1 else values for name, values in columns.items()}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if about := getattr(record, "about", ()):
            line |= _fields(about)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for a terminal: time, level, logger, the runs in brackets, message."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)-7s %(name)s: %(runs)s%(message)s",
            "%H:%M:%S",
            defaults={"runs": ""},
        )

    @override
    def format(self, record: logging.LogRecord) -> str:
        if about := getattr(record, "about", ()):
            record.runs = f"[{' '.join(item.run for item in about)}] "
        return super().format(record)


def configure_logging(log_format: str = "text", level: int = logging.INFO) -> None:
    """Send all log records of this process to standard error.

    Args:
        log_format: ``text`` for a terminal, ``json`` for one object a line.
        level: Lowest level that is shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_AboutFilter())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
