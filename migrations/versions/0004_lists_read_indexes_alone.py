"""Lists, search and claims read indexes alone, however many runs there are.

Revision: 0004
Follows: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LISTED = (
    "study_id", "config_hash", "state", "ordinal", "role", "task", "method_kind", "method_label",
    "backbone", "regime",
)  # fmt: skip
CLAIMED = (
    "state", sa.text("priority DESC"), "created_at", "study_id", "ordinal", "queue",
    "memory_bytes", "not_before",
)  # fmt: skip
GROUPED = ("state", "group_key", "priority", "created_at", "study_id", "ordinal")
ENDED = ("state", "ended_at", "id", "role")


def upgrade() -> None:
    op.drop_index("ix_runs_newest", "runs")
    op.drop_index("ix_runs_study_config", "runs")
    op.create_index("ix_runs_study_config", "runs", LISTED)
    op.drop_index("ix_runs_queue", "runs")
    op.create_index("ix_runs_queue", "runs", CLAIMED)
    op.drop_index("ix_runs_group", "runs")
    op.create_index("ix_runs_group", "runs", GROUPED)
    op.drop_index("ix_runs_ended", "runs")
    op.create_index("ix_runs_ended", "runs", ENDED)
    for name in ("backbone", "regime"):
        op.create_index(f"ix_runs_{name}", "runs", [name])
    op.create_index("ix_attempts_outcome", "attempts", ["outcome"])
    op.create_index("ix_studies_closed", "studies", ["number", "id", "closed_at", "is_demo"])


def downgrade() -> None:
    op.drop_index("ix_studies_closed", "studies")
    op.drop_index("ix_attempts_outcome", "attempts")
    for name in ("backbone", "regime"):
        op.drop_index(f"ix_runs_{name}", "runs")
    op.drop_index("ix_runs_ended", "runs")
    op.create_index("ix_runs_ended", "runs", ["state", "ended_at"])
    op.drop_index("ix_runs_group", "runs")
    op.create_index("ix_runs_group", "runs", ["state", "group_key"])
    op.drop_index("ix_runs_queue", "runs")
    before = ["state", "priority", "created_at", "study_id", "ordinal"]
    op.create_index("ix_runs_queue", "runs", before)
    op.drop_index("ix_runs_study_config", "runs")
    op.create_index("ix_runs_study_config", "runs", ["study_id", "config_hash", "ordinal"])
    op.create_index("ix_runs_newest", "runs", ["created_at", "id"])
