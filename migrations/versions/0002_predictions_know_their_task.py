"""Predictions know their task.

Revision: 0002
Follows: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    task = sa.Column("task", sa.String(length=80), server_default="", nullable=False)
    op.add_column("predictions", task)


def downgrade() -> None:
    # Not as a copy of the table: dropping the old one would take its answers along.
    op.drop_column("predictions", "task")
