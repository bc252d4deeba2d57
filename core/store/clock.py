"""The clocks of the database: what is shown is written by ours, what decides by its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from core.store.columns import UtcDateTime


def utcnow() -> datetime:
    """Return the present time in UTC, with its time zone."""
    return datetime.now(UTC)


class _DatabaseTime(FunctionElement[datetime]):
    """The database's present time plus its argument in seconds."""

    name = "database_time"
    type = UtcDateTime()
    inherit_cache = True


def database_time(seconds: float = 0.0) -> FunctionElement[datetime]:
    """Time of the database's own clock, some seconds from now, as an expression.

    Machines with clocks that differ agree on it, so it decides where times are compared.
    """
    return _DatabaseTime(literal(float(seconds), Float()))


@compiles(_DatabaseTime, "postgresql")
def _postgresql(element: _DatabaseTime, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(_DatabaseTime, "sqlite")
def _sqlite(element: _DatabaseTime, compiler: SQLCompiler, **options: Any) -> str:
    # As texts, and these are compared as such: six digits, of which SQLite knows three.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"
