"""The first tables.

Revision: 0001
Follows: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_predictions()
    _create_studies()
    _create_workers()
    _create_prediction_answers()
    _create_runs()
    _create_study_events()
    _create_artifacts()
    _create_attempts()
    _create_checkpoints()
    _create_histograms()
    _create_run_events()
    _create_scalar_chunks()
    _create_scalar_pyramid()
    _create_scalar_summaries()


def downgrade() -> None:
    for table in (
        "scalar_summaries",
        "scalar_pyramid",
        "scalar_chunks",
        "run_events",
        "histograms",
        "checkpoints",
        "attempts",
        "artifacts",
        "study_events",
        "runs",
        "prediction_answers",
        "workers",
        "studies",
        "predictions",
    ):
        op.drop_table(table)


def _create_predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("session_key", sa.String(length=128), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("run_ids", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('answering', 'done', 'failed', 'pending', 'superseded')",
            name=op.f("ck_predictions_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index(
        op.f("ix_predictions_session_key"), "predictions", ["session_key"], unique=False
    )
    op.create_index(
        op.f("ix_predictions_state_created_at"),
        "predictions",
        ["state", "created_at"],
        unique=False,
    )


def _create_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("protocol", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("test_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("test_openings", sa.Integer(), nullable=False),
        sa.CheckConstraint("protocol IN ('fixed', 'tuned')", name=op.f("ck_studies_protocol")),
        sa.CheckConstraint("test_openings >= 0", name=op.f("ck_studies_test_openings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_studies_idempotency_key")),
        sa.UniqueConstraint("number", name=op.f("uq_studies_number")),
    )
    op.create_index(op.f("ix_studies_created_at"), "studies", ["created_at"], unique=False)


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("hb_seq", sa.Integer(), nullable=False),
        sa.Column("hb_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('predict', 'train')", name=op.f("ck_workers_role")),
        sa.CheckConstraint("state IN ('alive', 'lost', 'stopped')", name=op.f("ck_workers_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_state_role"), "workers", ["state", "role"], unique=False)


def _create_prediction_answers() -> None:
    op.create_table(
        "prediction_answers",
        sa.Column("prediction_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.id"],
            name=op.f("fk_prediction_answers_prediction_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prediction_id", "ordinal", name=op.f("pk_prediction_answers")),
        sa.UniqueConstraint(
            "prediction_id", "run_id", name=op.f("uq_prediction_answers_prediction_id_run_id")
        ),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("config_hash", sa.String(length=16), nullable=False),
        sa.Column("cell", sa.String(length=16), nullable=False),
        sa.Column("group_key", sa.String(length=80), nullable=False),
        sa.Column("task", sa.String(length=80), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("regime", sa.String(length=80), nullable=False),
        sa.Column("method_kind", sa.String(length=40), nullable=False),
        sa.Column("method_label", sa.String(length=120), nullable=False),
        sa.Column("data_seed", sa.Integer(), nullable=False),
        sa.Column("init_seed", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("must_run_alone", sa.Boolean(), nullable=False),
        sa.Column("infra_left", sa.Integer(), nullable=False),
        sa.Column("oom_left", sa.Integer(), nullable=False),
        sa.Column("exit_kind", sa.String(length=40), nullable=False),
        sa.Column("exit_detail", sa.Text(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=False),
        sa.Column("seconds_per_step", sa.Double(), nullable=False),
        sa.Column("num_trainable", sa.JSON(), nullable=False),
        sa.Column("group_size", sa.Integer(), nullable=False),
        sa.Column("checkpoint_step", sa.Integer(), nullable=False),
        sa.Column("curve_epoch", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(worker_id IS NOT NULL) = (state IN ('running', 'starting', 'stopping'))",
            name=op.f("ck_runs_lease"),
        ),
        sa.CheckConstraint("role IN ('final', 'trial')", name=op.f("ck_runs_role")),
        sa.CheckConstraint(
            "state IN ('cancelled', 'failed', 'queued', "
            "'running', 'starting', 'stopping', 'succeeded')",
            name=op.f("ck_runs_state"),
        ),
        sa.CheckConstraint(
            "fence >= 0 AND attempt >= 0 AND fence >= attempt", name=op.f("ck_runs_fence")
        ),
        sa.CheckConstraint("infra_left >= 0 AND oom_left >= 0", name=op.f("ck_runs_budgets")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_runs_study_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_runs_worker_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("study_id", "ordinal", name=op.f("uq_runs_study_id_ordinal")),
    )
    op.create_index(op.f("ix_runs_cell"), "runs", ["study_id", "cell", "role"], unique=False)
    op.create_index(op.f("ix_runs_ended"), "runs", ["state", "ended_at"], unique=False)
    op.create_index(op.f("ix_runs_group"), "runs", ["state", "group_key"], unique=False)
    op.create_index(op.f("ix_runs_method_label"), "runs", ["method_label"], unique=False)
    op.create_index(op.f("ix_runs_newest"), "runs", ["created_at", "id"], unique=False)
    op.create_index(
        op.f("ix_runs_queue"),
        "runs",
        ["state", "priority", "created_at", "study_id", "ordinal"],
        unique=False,
    )
    op.create_index(
        op.f("ix_runs_study_config"), "runs", ["study_id", "config_hash", "ordinal"], unique=False
    )
    op.create_index(op.f("ix_runs_task"), "runs", ["task"], unique=False)
    op.create_index(op.f("ix_runs_worker_id"), "runs", ["worker_id"], unique=False)


def _create_study_events() -> None:
    op.create_table(
        "study_events",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_events_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "ordinal", name=op.f("pk_study_events")),
    )


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_artifacts_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_artifacts")),
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=False),
        sa.Column("resumed_from_step", sa.Integer(), nullable=False),
        sa.Column("discarded_points", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('', 'cancelled', 'crashed', 'drained', "
            "'failed', 'lost', 'out_of_memory', 'succeeded', 'superseded')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_attempts_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"], name=op.f("fk_attempts_worker_id")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_attempts")),
        sa.UniqueConstraint("run_id", "fence", name=op.f("uq_attempts_run_id_fence")),
    )


def _create_checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_best", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('deleted', 'registered')", name=op.f("ck_checkpoints_state")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_checkpoints_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "step", "attempt", name=op.f("pk_checkpoints")),
    )


def _create_histograms() -> None:
    op.create_table(
        "histograms",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_histograms_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", "step", name=op.f("pk_histograms")),
    )


def _create_run_events() -> None:
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=False),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "after IN ('cancelled', 'failed', 'queued', "
            "'running', 'starting', 'stopping', 'succeeded')",
            name=op.f("ck_run_events_after"),
        ),
        sa.CheckConstraint(
            "before IN ('', 'cancelled', 'failed', 'queued', "
            "'running', 'starting', 'stopping', 'succeeded')",
            name=op.f("ck_run_events_before"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "version", name=op.f("pk_run_events")),
    )
    op.create_index(op.f("ix_run_events_at"), "run_events", ["at"], unique=False)


def _create_scalar_chunks() -> None:
    op.create_table(
        "scalar_chunks",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("first_step", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("steps", sa.LargeBinary(), nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "count > 0 AND first_step <= last_step", name=op.f("ck_scalar_chunks_span")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_scalar_chunks_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", "ordinal", name=op.f("pk_scalar_chunks")),
    )
    op.create_index(
        op.f("uq_scalar_chunks_open"),
        "scalar_chunks",
        ["run_id", "name"],
        unique=True,
        sqlite_where=sa.text("NOT sealed"),
        postgresql_where=sa.text("NOT sealed"),
    )


def _create_scalar_pyramid() -> None:
    op.create_table(
        "scalar_pyramid",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("low_steps", sa.LargeBinary(), nullable=False),
        sa.Column("low_values", sa.LargeBinary(), nullable=False),
        sa.Column("high_steps", sa.LargeBinary(), nullable=False),
        sa.Column("high_values", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_scalar_pyramid_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_scalar_pyramid")),
    )


def _create_scalar_summaries() -> None:
    op.create_table(
        "scalar_summaries",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("last_value", sa.Double(), nullable=True),
        sa.Column("min_step", sa.Integer(), nullable=True),
        sa.Column("min_value", sa.Double(), nullable=True),
        sa.Column("max_step", sa.Integer(), nullable=True),
        sa.Column("max_value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_scalar_summaries_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_scalar_summaries")),
    )
