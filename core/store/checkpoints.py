"""Checkpoints of runs: registered after they are durable, given up when they are damaged."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from core.reporting import Checkpoint as DurableCheckpoint
from core.states import RunState
from core.store.models_data import Checkpoint
from core.store.moves import lock_claimed, update_held
from core.store.scalars import seal

KEPT_CHECKPOINTS = 2
"""So many of the newest stay: a damaged one leaves another to continue from."""


def register_checkpoint(
    session: Session, run_id: str, fence: int, checkpoint: DurableCheckpoint, *, folder: str = ""
) -> bool:
    """Register a durable checkpoint and seal the run's open chunks. False: the claim was lost.

    Args:
        folder: How the folder is written down (relative to the artifacts folder); empty: as it is.
    """
    held = lock_claimed(session, run_id, fence)
    if held is None:
        return False
    values: dict[str, object] = {
        "checkpoint_step": max(held.checkpoint_step, checkpoint.step),
        "last_step": max(held.last_step, checkpoint.step),
    }
    if not update_held(session, held, **values):
        return False
    session.merge(
        Checkpoint(
            run_id=run_id,
            step=checkpoint.step,
            attempt=held.attempt,
            folder=folder or str(checkpoint.folder),
            sha256=checkpoint.sha256,
            num_bytes=checkpoint.num_bytes,
            is_best=checkpoint.is_best,
            state="registered",
        )
    )
    session.flush()
    seal(session, run_id)
    return True


def prune_checkpoints(session: Session, run_id: str, fence: int) -> list[str]:
    """Mark all checkpoints but the newest two and the best as deleted; return their folders.

    Remove the folders after the commit.
    """
    if lock_claimed(session, run_id, fence) is None:
        return []
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.state == "registered")
        .order_by(Checkpoint.step.desc(), Checkpoint.attempt.desc())
    ).all()
    best = next((row for row in rows if row.is_best), None)
    old = [row for row in rows[KEPT_CHECKPOINTS:] if row is not best]
    for row in old:
        row.state = "deleted"
    session.flush()
    return [row.folder for row in old]


def registered_folder(session: Session, run_id: str, attempt: int, step: int) -> str | None:
    """Folder that is registered for a step of an attempt; None when there is none."""
    return session.scalar(
        select(Checkpoint.folder).where(
            Checkpoint.run_id == run_id,
            Checkpoint.attempt == attempt,
            Checkpoint.step == step,
            Checkpoint.state == "registered",
        )
    )


def newest_step(session: Session, run_id: str) -> int:
    """Updates done at the newest registered checkpoint of a run, 0 when there is none."""
    step = session.scalar(
        select(func.max(Checkpoint.step)).where(
            Checkpoint.run_id == run_id, Checkpoint.state == "registered"
        )
    )
    return step or 0


def made_one(session: Session, run_id: str, attempt: int) -> bool:
    """Tell whether an attempt registered a checkpoint, whatever became of it."""
    mine = (Checkpoint.run_id == run_id, Checkpoint.attempt == attempt)
    return bool(session.scalar(select(exists().where(*mine))))


def give_up_newest(session: Session, run_id: str) -> int:
    """Mark the newest checkpoint of a locked run as damaged; return the step of the one before.

    Its files stay where they are: somebody may want to see what became of them.

    Returns:
        Updates done at the newest checkpoint that is left, 0 when there is none.
    """
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.state == "registered")
        .order_by(Checkpoint.step.desc(), Checkpoint.attempt.desc())
        .limit(2)
    ).all()
    for row in rows[:1]:
        row.state = "damaged"
    session.flush()
    return rows[1].step if len(rows) > 1 else 0


def unneeded(session: Session, run_id: str, folders: Collection[str]) -> list[str]:
    """Those of these folders that no registered or damaged checkpoint of the run has.

    For a write that is repeated because nobody knows whether it was committed: when it was, the
    rows say so, and only the folders have still to go.
    """
    if not folders:
        return []
    kept = session.scalars(
        select(Checkpoint.folder).where(Checkpoint.run_id == run_id, Checkpoint.state != "deleted")
    ).all()
    return [folder for folder in folders if folder not in kept]


def drop_checkpoints(session: Session, run_id: str, fence: int) -> list[str]:
    """Mark all checkpoints of a run that succeeded under this claim as deleted; return folders.

    Its adapter is an artifact of its own. Damaged ones stay marked as such, but their files need
    not stay either. Remove the folders after the commit.
    """
    if lock_claimed(session, run_id, fence, {RunState.SUCCEEDED}) is None:
        return []
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.state != "deleted")
        .order_by(Checkpoint.step, Checkpoint.attempt)
    ).all()
    for row in rows:
        if row.state == "registered":
            row.state = "deleted"
    session.flush()
    return [row.folder for row in rows]
