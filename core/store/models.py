"""Tables of studies, runs, workers and what happened to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.states import ACTIVE, Outcome, RunState
from core.store.clock import utcnow
from core.store.columns import Base, identifier, new_id, one_of

INFRA_BUDGET = 3
"""Crashes or lost workers that a run survives before it counts as failed."""

OOM_BUDGET = 1
"""Times that a run may leave its group because memory ran out."""

PROTOCOLS = ("fixed", "tuned")
ROLES = ("final", "trial")
WORKER_ROLES = ("train", "predict")
WORKER_STATES = ("alive", "lost", "stopped")

DEFAULT_QUEUE = "default"
QUEUE_LENGTH = 40


class Study(Base):
    """A question and its grid of runs."""

    __tablename__ = "studies"
    __table_args__ = (
        one_of("protocol", PROTOCOLS, "protocol"),
        CheckConstraint("test_openings >= 0", name="test_openings"),
        Index("ix_studies_closed", "number", "id", "closed_at", "is_demo"),
    )

    id: Mapped[str] = mapped_column(identifier(), primary_key=True, default=new_id)
    number: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str]
    question: Mapped[str] = mapped_column(default="")
    recipe: Mapped[str]
    protocol: Mapped[str] = mapped_column(String(16), default="fixed")
    priority: Mapped[int] = mapped_column(default=0)
    queue: Mapped[str] = mapped_column(String(QUEUE_LENGTH), default=DEFAULT_QUEUE)
    is_demo: Mapped[bool] = mapped_column(default=False)
    idempotency_key: Mapped[str | None] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
    closed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    test_opened_at: Mapped[datetime | None]
    test_openings: Mapped[int] = mapped_column(default=0)

    @property
    def slug(self) -> str:
        """Short name for people, for example ``S3``."""
        return f"S{self.number}"

    @property
    def is_test_open(self) -> bool:
        """Tell whether numbers of the test split may be shown."""
        return self.closed_at is not None or self.test_opened_at is not None


class StudyEvent(Base):
    """Something that happened to a study as a whole; the pair (kind, subject) happens once."""

    __tablename__ = "study_events"

    study_id: Mapped[str] = mapped_column(
        identifier(), ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(64), default="")
    text: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utcnow)


class Worker(Base):
    """A process that trains or predicts; the lease of its device is its heartbeat counter."""

    __tablename__ = "workers"
    __table_args__ = (
        one_of("state", WORKER_STATES, "state"),
        one_of("role", WORKER_ROLES, "role"),
        Index(None, "state", "role"),
    )

    id: Mapped[str] = mapped_column(identifier(), primary_key=True, default=new_id)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(String(16))
    host: Mapped[str]
    boot_id: Mapped[str] = mapped_column(default="")
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(64), default="cpu")
    info: Mapped[dict[str, Any]] = mapped_column(default=dict)
    queues: Mapped[list[str]] = mapped_column(default=lambda: [DEFAULT_QUEUE])
    memory_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    memory_used: Mapped[int] = mapped_column(BigInteger, default=0)
    hb_seq: Mapped[int] = mapped_column(default=0)
    hb_at: Mapped[datetime] = mapped_column(default=utcnow)
    state: Mapped[str] = mapped_column(String(16), default="alive")
    started_at: Mapped[datetime] = mapped_column(default=utcnow)


class Run(Base):
    """One config with its seeds, and where it stands; the truth about a run."""

    __tablename__ = "runs"
    __table_args__ = (
        one_of("state", RunState, "state"),
        one_of("role", ROLES, "role"),
        CheckConstraint(
            "(worker_id IS NOT NULL) = (state IN ({}))".format(
                ", ".join(f"'{state}'" for state in sorted(ACTIVE))
            ),
            name="lease",
        ),
        CheckConstraint("fence >= 0 AND attempt >= 0 AND fence >= attempt", name="fence"),
        CheckConstraint("infra_left >= 0 AND oom_left >= 0", name="budgets"),
        UniqueConstraint("study_id", "ordinal"),
        Index(
            "ix_runs_group", "state", "group_key", "priority", "created_at", "study_id", "ordinal"
        ),
        Index(
            "ix_runs_study_config",
            "study_id",
            "config_hash",
            "state",
            "ordinal",
            "role",
            "task",
            "method_kind",
            "method_label",
            "backbone",
            "regime",
        ),  # fmt: skip
        Index("ix_runs_ended", "state", "ended_at", "id", "role"),
        Index("ix_runs_cell", "study_id", "cell", "role"),
    )

    id: Mapped[str] = mapped_column(identifier(), primary_key=True, default=new_id)
    study_id: Mapped[str] = mapped_column(
        identifier(), ForeignKey("studies.id", ondelete="CASCADE")
    )
    ordinal: Mapped[int]
    config: Mapped[str]
    config_hash: Mapped[str] = mapped_column(String(16))
    cell: Mapped[str] = mapped_column(String(16))
    group_key: Mapped[str] = mapped_column(String(80))
    task: Mapped[str] = mapped_column(String(80), index=True)
    backbone: Mapped[str] = mapped_column(index=True)
    regime: Mapped[str] = mapped_column(String(80), index=True)
    method_kind: Mapped[str] = mapped_column(String(40))
    method_label: Mapped[str] = mapped_column(String(120), index=True)
    data_seed: Mapped[int]
    init_seed: Mapped[int]
    role: Mapped[str] = mapped_column(String(8), default="final")
    priority: Mapped[int] = mapped_column(default=0)
    queue: Mapped[str] = mapped_column(String(QUEUE_LENGTH), default=DEFAULT_QUEUE)
    memory_bytes: Mapped[int] = mapped_column(BigInteger, default=0)

    state: Mapped[str] = mapped_column(String(16), default=RunState.QUEUED.value)
    version: Mapped[int] = mapped_column(default=1)
    fence: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(
        identifier(), ForeignKey("workers.id"), index=True
    )
    not_before: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    must_run_alone: Mapped[bool] = mapped_column(Boolean, default=False)
    infra_left: Mapped[int] = mapped_column(default=INFRA_BUDGET)
    oom_left: Mapped[int] = mapped_column(default=OOM_BUDGET)
    exit_kind: Mapped[str] = mapped_column(String(40), default="")
    exit_detail: Mapped[str] = mapped_column(default="")

    phase: Mapped[str] = mapped_column(String(16), default="")
    last_step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    seconds_per_step: Mapped[float] = mapped_column(default=0.0)
    num_trainable: Mapped[dict[str, Any]] = mapped_column(default=dict)
    group_size: Mapped[int] = mapped_column(default=1)
    is_stalled: Mapped[bool] = mapped_column(Boolean, default=False)
    checkpoint_step: Mapped[int] = mapped_column(default=0)
    curve_epoch: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any] | None]
    log_path: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


Index(
    "ix_runs_queue", Run.state, Run.priority.desc(), Run.created_at, Run.study_id, Run.ordinal,
    Run.queue, Run.memory_bytes, Run.not_before,
)  # fmt: skip


class Attempt(Base):
    """One try of a worker at a run."""

    __tablename__ = "attempts"
    __table_args__ = (
        one_of("outcome", (*Outcome, ""), "outcome"),
        UniqueConstraint("run_id", "fence"),
        Index(None, "outcome"),
    )

    run_id: Mapped[str] = mapped_column(
        identifier(), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    fence: Mapped[int]
    worker_id: Mapped[str] = mapped_column(identifier(), ForeignKey("workers.id"))
    resumed_from_step: Mapped[int] = mapped_column(default=0)
    discarded_points: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str] = mapped_column(String(16), default="")
    kind: Mapped[str] = mapped_column(String(40), default="")
    detail: Mapped[str] = mapped_column(default="")
    notice: Mapped[str] = mapped_column(default="")
    log_path: Mapped[str] = mapped_column(default="")
    log_tail: Mapped[str] = mapped_column(default="")
    started_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]


class RunEvent(Base):
    """A change of a run's state, with its reason for people; versions have no gaps."""

    __tablename__ = "run_events"
    __table_args__ = (
        one_of("before", (*RunState, ""), "before"),
        one_of("after", RunState, "after"),
        Index(None, "at"),
    )

    run_id: Mapped[str] = mapped_column(
        identifier(), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    before: Mapped[str] = mapped_column(String(16), default="")
    after: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime] = mapped_column(default=utcnow)
