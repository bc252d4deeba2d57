"""Environment of alembic: on the studio's connection, or on the database of the settings."""

from __future__ import annotations

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection

from core.settings import get_settings
from core.store.columns import UtcDateTime
from core.store.migrate import METADATA
from core.store.session import Store


def render_item(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Write our own column types as what they are in the database; scripts need no models."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        return "sa.JSON()"
    return False


def run(connection: Connection) -> None:
    """Run the wanted migrations on an open connection."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=True,
        compare_type=True,
        transactional_ddl=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_on_settings() -> None:
    """Serve the command line of alembic, which brings no connection."""
    engine = Store(get_settings().sqlalchemy_url).migration_engine()
    with engine.begin() as opened:
        run(opened)
    engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    run_on_settings()
else:
    run(given)
