"""The one place that reads the wall clock for the database."""

from __future__ import annotations

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Return the present time in UTC, with its time zone."""
    return datetime.now(UTC)
