"""Tables of what runs produce: scalars, histograms, checkpoints, artifacts and predictions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.store.clock import utcnow
from core.store.columns import Base, identifier, new_id, one_of
from core.store.models import Run

CHECKPOINT_STATES = ("registered", "damaged", "deleted")
PREDICTION_STATES = ("pending", "answering", "done", "superseded", "failed")
NAME_LENGTH = 120
TASK_LENGTH = 80


def _run_id() -> Mapped[str]:
    return mapped_column(identifier(), ForeignKey(Run.id, ondelete="CASCADE"), primary_key=True)


class ScalarChunk(Base):
    """Up to 512 points of one scalar: steps as int32, values as float64, little endian."""

    __tablename__ = "scalar_chunks"
    __table_args__ = (
        CheckConstraint("count > 0 AND first_step <= last_step", name="span"),
        Index(
            "uq_scalar_chunks_open",
            "run_id",
            "name",
            unique=True,
            sqlite_where=text("NOT sealed"),
            postgresql_where=text("NOT sealed"),
        ),
    )

    run_id: Mapped[str] = _run_id()
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    first_step: Mapped[int]
    last_step: Mapped[int]
    count: Mapped[int]
    sealed: Mapped[bool] = mapped_column(default=False)
    steps: Mapped[bytes]
    values: Mapped[bytes]


class ScalarPyramid(Base):
    """Sealed points of one scalar in at most 1024 buckets of 2**level points.

    A bucket keeps its smallest and its largest point, so no spike is lost.
    """

    __tablename__ = "scalar_pyramid"

    run_id: Mapped[str] = _run_id()
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    level: Mapped[int] = mapped_column(default=0)
    count: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=0)
    low_steps: Mapped[bytes]
    low_values: Mapped[bytes]
    high_steps: Mapped[bytes]
    high_values: Mapped[bytes]


class ScalarSummary(Base):
    """Last, smallest and largest value of one scalar; empty values when there were only gaps."""

    __tablename__ = "scalar_summaries"

    run_id: Mapped[str] = _run_id()
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=0)
    last_value: Mapped[float | None]
    min_step: Mapped[int | None]
    min_value: Mapped[float | None]
    max_step: Mapped[int | None]
    max_value: Mapped[float | None]


class Histogram(Base):
    """Counts over a fixed list of choices at one step, int32 little endian."""

    __tablename__ = "histograms"

    run_id: Mapped[str] = _run_id()
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    counts: Mapped[bytes]


class Checkpoint(Base):
    """A checkpoint whose files were durable before this row was written."""

    __tablename__ = "checkpoints"
    __table_args__ = (one_of("state", CHECKPOINT_STATES, "state"),)

    run_id: Mapped[str] = _run_id()
    step: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    num_bytes: Mapped[int] = mapped_column(BigInteger)
    is_best: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default="registered")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class Artifact(Base):
    """A file or folder that a succeeded run left, under its name."""

    __tablename__ = "artifacts"

    run_id: Mapped[str] = _run_id()
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    path: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class Prediction(Base):
    """Texts that a person wants classified by chosen runs; ``task`` says how they are read."""

    __tablename__ = "predictions"
    __table_args__ = (
        one_of("state", PREDICTION_STATES, "state"),
        Index(None, "state", "created_at"),
        Index(None, "session_key"),
    )

    id: Mapped[str] = mapped_column(identifier(), primary_key=True, default=new_id)
    session_key: Mapped[str] = mapped_column(String(128), default="")
    texts: Mapped[list[str]]
    run_ids: Mapped[list[str]]
    task: Mapped[str] = mapped_column(String(TASK_LENGTH), default="")
    state: Mapped[str] = mapped_column(String(16), default="pending")
    error: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]


class PredictionAnswer(Base):
    """What one run says; ``ordinal`` counts the answers of a prediction and is the cursor."""

    __tablename__ = "prediction_answers"
    __table_args__ = (UniqueConstraint("prediction_id", "run_id"),)

    prediction_id: Mapped[str] = mapped_column(
        identifier(), ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(identifier())
    body: Mapped[dict[str, Any]]
