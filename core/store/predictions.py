"""Predictions: texts that wait for the predictor, and the answers of the chosen runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.store.clock import utcnow
from core.store.columns import json_safe, new_id
from core.store.models_data import Artifact, Prediction, PredictionAnswer
from core.store.moves import row_count

KEEP = timedelta(days=1)
OPEN = ("pending", "answering")


@dataclass(frozen=True)
class PendingPrediction:
    """Work for the predictor.

    Attributes:
        texts: Typed texts in the order of the task's inputs.
        task: Task as which the runs shall read them; empty: the only one that they know.
        adapters: Adapter path as registered, by run id; runs without an adapter are left out.
        missing: Chosen runs that have no adapter.
    """

    id: str
    texts: tuple[str, ...]
    task: str
    adapters: Mapping[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class AnswerRow:
    """One run's answer; ``body`` is what the predictor stored."""

    ordinal: int
    run_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class PredictionView:
    """A prediction and the answers after a cursor.

    Attributes:
        state: ``pending``, ``answering``, ``done``, ``superseded`` or ``failed``.
        cursor: Give it back to get what comes after.
    """

    id: str
    state: str
    error: str
    texts: tuple[str, ...]
    task: str
    run_ids: tuple[str, ...]
    answers: tuple[AnswerRow, ...]
    cursor: int

    @property
    def is_ended(self) -> bool:
        """Tell whether no answer follows."""
        return self.state in ("done", "superseded", "failed")


def create_prediction(
    session: Session,
    texts: Sequence[str],
    run_ids: Sequence[str],
    session_key: str = "",
    *,
    task: str = "",
) -> str:
    """Insert a prediction and return its id; earlier open ones of the same key are superseded.

    Args:
        texts: Typed texts in the order of the task's inputs.
        run_ids: Runs that shall answer.
        session_key: Who asks; empty: nobody who asks again.
        task: Task as which the runs shall read the texts; empty: the only one that they know.
    """
    if session_key:
        session.execute(
            update(Prediction)
            .where(Prediction.session_key == session_key, Prediction.state.in_(OPEN))
            .values(state="superseded", ended_at=utcnow())
            .execution_options(synchronize_session=False)
        )
    prediction = Prediction(
        id=new_id(), session_key=session_key, texts=list(texts), run_ids=list(run_ids), task=task
    )
    session.add(prediction)
    session.flush()
    return prediction.id


def take_pending(session: Session, limit: int = 8) -> list[PendingPrediction]:
    """Hand the oldest pending predictions to the caller, each exactly once."""
    rows = session.execute(
        select(Prediction.id, Prediction.texts, Prediction.task, Prediction.run_ids)
        .where(Prediction.state == "pending")
        .order_by(Prediction.created_at, Prediction.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    session.execute(
        update(Prediction)
        .where(Prediction.id.in_([row.id for row in rows]), Prediction.state == "pending")
        .values(state="answering")
        .execution_options(synchronize_session=False)
    )
    wanted = {run_id for row in rows for run_id in row.run_ids}
    found = session.execute(
        select(Artifact.run_id, Artifact.path).where(
            Artifact.name == "adapter", Artifact.run_id.in_(wanted)
        )
    )
    paths = {row.run_id: row.path for row in found}
    return [
        PendingPrediction(
            id=row.id,
            texts=tuple(row.texts),
            task=row.task,
            adapters={run_id: paths[run_id] for run_id in row.run_ids if run_id in paths},
            missing=tuple(run_id for run_id in row.run_ids if run_id not in paths),
        )
        for row in rows
    ]


def is_wanted(session: Session, prediction_id: str) -> bool:
    """Tell whether somebody still waits for it."""
    state = session.scalar(select(Prediction.state).where(Prediction.id == prediction_id))
    return state in OPEN


def add_answer(session: Session, prediction_id: str, run_id: str, body: Mapping[str, Any]) -> bool:
    """Store one run's answer, once. False: nobody waits for this prediction any more."""
    state = session.scalar(
        select(Prediction.state).where(Prediction.id == prediction_id).with_for_update()
    )
    if state not in OPEN:
        return False
    mine = PredictionAnswer.prediction_id == prediction_id
    if session.scalar(
        select(PredictionAnswer.ordinal).where(mine, PredictionAnswer.run_id == run_id)
    ):
        return True
    last = session.scalar(select(func.max(PredictionAnswer.ordinal)).where(mine)) or 0
    session.execute(
        insert(PredictionAnswer).values(
            prediction_id=prediction_id, ordinal=last + 1, run_id=run_id, body=json_safe(body)
        )
    )
    return True


def finish(session: Session, prediction_id: str, error: str = "") -> bool:
    """End a prediction, ``failed`` when there is an error. False: it had ended already."""
    changed = session.execute(
        update(Prediction)
        .where(Prediction.id == prediction_id, Prediction.state.in_(OPEN))
        .values(state="failed" if error else "done", error=error, ended_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    return row_count(changed) == 1


def read_answers(session: Session, prediction_id: str, after: int = 0) -> PredictionView:
    """Read state and answers after the cursor.

    Raises:
        NotFound: If there is no such prediction; they are kept for a day.
    """
    row = session.execute(
        select(
            Prediction.state,
            Prediction.error,
            Prediction.texts,
            Prediction.task,
            Prediction.run_ids,
        ).where(Prediction.id == prediction_id)
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no prediction {prediction_id}.", hint="They are kept for a day; ask again."
        )
    found = session.execute(
        select(PredictionAnswer.ordinal, PredictionAnswer.run_id, PredictionAnswer.body)
        .where(PredictionAnswer.prediction_id == prediction_id, PredictionAnswer.ordinal > after)
        .order_by(PredictionAnswer.ordinal)
    )
    answers = tuple(AnswerRow(answer.ordinal, answer.run_id, answer.body) for answer in found)
    return PredictionView(
        id=prediction_id,
        state=row.state,
        error=row.error,
        texts=tuple(row.texts),
        task=row.task,
        run_ids=tuple(row.run_ids),
        answers=answers,
        cursor=answers[-1].ordinal if answers else after,
    )


def end_abandoned(session: Session, silent: timedelta, error: str) -> int:
    """Fail predictions that a predictor took and never ended because it died.

    Args:
        silent: Age, counted from the question, after which nobody is answering any more.
        error: Sentence for people.

    Returns:
        Their number.
    """
    changed = session.execute(
        update(Prediction)
        .where(Prediction.state == "answering", Prediction.created_at < utcnow() - silent)
        .values(state="failed", error=error, ended_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    return row_count(changed)


def expire_predictions(session: Session, keep: timedelta = KEEP) -> int:
    """Delete predictions older than ``keep``; return their number."""
    old = Prediction.created_at < utcnow() - keep
    session.execute(
        delete(PredictionAnswer).where(
            PredictionAnswer.prediction_id.in_(select(Prediction.id).where(old))
        )
    )
    return row_count(session.execute(delete(Prediction).where(old)))
