"""Runs wait in queues and know their memory; attempts keep their log; checkpoints may be damaged.

Revision: 0003
Follows: 0002
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OUTCOMES = ("", "cancelled", "crashed", "drained", "failed", "lost", "out_of_memory", "succeeded")
CHECKPOINT_STATES = ("deleted", "registered")


def upgrade() -> None:
    for table in ("runs", "studies"):
        op.add_column(table, _filled("queue", sa.String(length=40), "default"))
    op.add_column("runs", _filled("memory_bytes", sa.BigInteger(), "0"))
    op.add_column("runs", _filled("is_stalled", sa.Boolean(), sa.false()))
    op.add_column("workers", _filled("queues", sa.JSON(), '["default"]'))
    op.add_column("workers", _filled("memory_bytes", sa.BigInteger(), "0"))
    op.add_column("workers", _filled("memory_used", sa.BigInteger(), "0"))
    for name in ("notice", "log_path", "log_tail"):
        op.add_column("attempts", _filled(name, sa.Text(), ""))
    _allow("attempts", "outcome", (*OUTCOMES, "stalled"))
    _allow("checkpoints", "state", (*CHECKPOINT_STATES, "damaged"))


def downgrade() -> None:
    op.execute("UPDATE checkpoints SET state = 'deleted' WHERE state = 'damaged'")
    op.execute("UPDATE attempts SET outcome = 'crashed' WHERE outcome = 'stalled'")
    _allow("checkpoints", "state", CHECKPOINT_STATES)
    _allow("attempts", "outcome", OUTCOMES)
    # Not as copies of the tables: dropping an old one would take what points to it along.
    for table, names in (
        ("attempts", ("notice", "log_path", "log_tail")),
        ("workers", ("queues", "memory_bytes", "memory_used")),
        ("runs", ("queue", "memory_bytes", "is_stalled")),
        ("studies", ("queue",)),
    ):
        for name in names:
            op.drop_column(table, name)


def _filled(name: str, kind: sa.types.TypeEngine[Any], value: Any) -> sa.Column[Any]:
    """Make a column that rows from before get a value for."""
    return sa.Column(name, kind, server_default=value, nullable=False)


def _allow(table: str, column: str, values: Sequence[str]) -> None:
    """Replace the list of values that a text column may hold."""
    name = op.f(f"ck_{table}_{column}")
    listed = ", ".join(f"'{value}'" for value in sorted(values))
    with op.batch_alter_table(table) as batch:
        batch.drop_constraint(name, type_="check")
        batch.create_check_constraint(name, sa.text(f"{column} IN ({listed})"))
