"""One label a control, as recipes write it: ``random_cut``, and ``fixed_best`` whatever cut won.

Revision: 0005
Follows: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RANDOM = ("random cut", "random slot")
FIXED_BEST = "fixed_best"


def upgrade() -> None:
    for old in RANDOM:
        _rename(old, old.replace(" ", "_"))
    start = f"{FIXED_BEST} (cut "
    op.execute(
        f"UPDATE runs SET method_label = '{FIXED_BEST}' "
        f"WHERE role = 'final' AND substr(method_label, 1, {len(start)}) = '{start}'"
    )


def downgrade() -> None:
    # The cut of fixed_best stays in its config alone.
    for old in RANDOM:
        _rename(old.replace(" ", "_"), old)


def _rename(old: str, new: str) -> None:
    """Change the name at the start of labels; what stands behind it is kept."""
    op.execute(
        f"UPDATE runs SET method_label = '{new}' || substr(method_label, {len(old) + 1}) "
        f"WHERE substr(method_label, 1, {len(old)}) = '{old}'"
    )
