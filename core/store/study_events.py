"""Locking a study, and what is told about it as a whole."""

from __future__ import annotations

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.store.clock import utcnow
from core.store.models import Study, StudyEvent


def lock_study(session: Session, study_id: str) -> Study:
    """Read and lock a study until the transaction ends; lock runs before it, never after.

    Raises:
        NotFound: If there is no such study.
    """
    study = session.scalars(
        select(Study)
        .where(Study.id == study_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if study is None:
        raise no_study(study_id)
    return study


def record(
    session: Session,
    study_id: str,
    kind: str,
    sentence: str,
    *,
    subject: str = "",
    repeat: bool = False,
) -> None:
    """Write an event of a study; without ``repeat`` only once for its kind and subject."""
    mine = StudyEvent.study_id == study_id
    if not repeat and session.scalar(
        select(StudyEvent.ordinal).where(
            mine, StudyEvent.kind == kind, StudyEvent.subject == subject
        )
    ):
        return
    last = session.scalar(select(func.max(StudyEvent.ordinal)).where(mine)) or 0
    session.execute(
        insert(StudyEvent).values(
            study_id=study_id,
            ordinal=last + 1,
            kind=kind,
            subject=subject,
            text=sentence,
            at=utcnow(),
        )
    )


def no_study(study_id: str) -> NotFound:
    """Error for a study that is not there."""
    return NotFound(f"There is no study {study_id}.", hint="The Runs page lists all studies.")
