"""The life of a run: claim, start, beat, progress, checkpoint; endings come from ``endings``.

Functions for the holder of a run take its fence and return False or None when the claim was lost;
nothing is changed then. They work inside ``Store.write()``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Update, insert, select, update
from sqlalchemy.orm import Session

from core.reporting import Progress
from core.states import ACTIVE, Outcome, RunState, StopKind
from core.store import migrate
from core.store.checkpoints import (
    drop_checkpoints,
    prune_checkpoints,
    register_checkpoint,
    registered_folder,
    unneeded,
)
from core.store.clock import utcnow
from core.store.columns import plain_text
from core.store.endings import (
    cancel_study,
    drain_all,
    end_attempt,
    expire,
    give_back_held,
    release_all,
    request_cancel,
    retry,
)
from core.store.models import Attempt, Run, Study, Worker
from core.store.models_data import Artifact, Checkpoint
from core.store.moves import (
    Held,
    lock,
    lock_claimed,
    move,
    row_count,
    select_held,
)
from core.store.order import to_front
from core.store.outcomes import continues
from core.store.scalars import truncate_above
from core.store.waiting import claim_order, ready, suits

Beat = StopKind | Literal["lost"] | None
NOTICE_LENGTH = 4_000
"""Longest text of all notices of an attempt, in characters; further ones are dropped."""

__all__ = [
    "Beat",
    "ClaimedRun",
    "beat",
    "cancel_study",
    "claim",
    "drain_all",
    "drop_checkpoints",
    "end_attempt",
    "expire",
    "notice",
    "progress",
    "prune_checkpoints",
    "register_checkpoint",
    "registered_folder",
    "release_all",
    "request_cancel",
    "retry",
    "stalled",
    "started",
    "to_front",
    "unneeded",
]


@dataclass(frozen=True)
class ClaimedRun:
    """A run that a worker now holds.

    Attributes:
        id: Run.
        study_id: Its study.
        slug: Short name for people, for example ``S3-12``.
        config: Canonical JSON of its RunConfig.
        fence: Number that every later write of this attempt must carry.
        attempt: Counts the claims of this run, from 1.
        priority: 0 for users, -10 for the demo.
        checkpoint: Folder of the checkpoint to continue from as registered; None: from the start.
        checkpoint_step: Updates done at that checkpoint.
        curve_epoch: Epoch of its curves from now on.
    """

    id: str
    study_id: str
    slug: str
    config: str
    fence: int
    attempt: int
    priority: int
    checkpoint: str | None
    checkpoint_step: int
    curve_epoch: int


def claim(
    session: Session, worker_id: str, limit: int, *, but: Collection[str] = ()
) -> list[ClaimedRun]:
    """Take the next run and up to ``limit - 1`` runs that can be trained with it.

    Highest priority first, then the oldest, of the worker's queues and no larger than its memory;
    its partners have the same group key and priority, and fit beside it. A run that must run alone
    comes alone. Points and histograms above the checkpoint are dropped. Returns an empty list when
    nothing is ready, the worker is not registered as alive, or the database has another layout
    than this process knows (``migrate.layout_problem`` says so).

    Args:
        but: Runs that are not taken.
    """
    worker = session.execute(
        select(Worker.name, Worker.queues, Worker.memory_bytes)
        .where(Worker.id == worker_id, Worker.state == "alive")
        .with_for_update(key_share=True)
    ).one_or_none()
    if worker is None or not migrate.is_current(session):
        return []
    wanted = (*ready(), *suits(worker.queues, worker.memory_bytes), Run.id.not_in(list(but)))
    query = select_held(*wanted).order_by(*claim_order())
    found = lock(session, query.limit(1), skip_locked=True)
    if found and not found[0].must_run_alone and limit > 1:
        first = found[0]
        key = select(Run.group_key).where(Run.id == first.id).scalar_subquery()
        partners = query.where(
            Run.group_key == key,
            Run.priority == first.priority,
            Run.id != first.id,
            ~Run.must_run_alone,
        )
        beside = lock(session, partners.limit(limit - 1), skip_locked=True)
        found = _fitting(first, beside, worker.memory_bytes)
    taken = [run for run in found if _take(session, run, worker_id, worker.name, len(found))]
    return _claimed(session, [run.id for run in taken])


def adapter_folder(session: Session, run_id: str) -> str | None:
    """Return the folder of a run's adapter as registered; None when there is none."""
    return session.scalar(
        select(Artifact.path).where(Artifact.run_id == run_id, Artifact.name == "adapter")
    )


def started(session: Session, run_id: str, fence: int, *, log_path: str = "") -> bool:
    """Move a run from starting to running. Also True when it is running or stopping already."""
    held = lock_claimed(session, run_id, fence)
    if held is None:
        return False
    if log_path:
        session.execute(_living(run_id, fence).values(log_path=log_path))
    if held.state is not RunState.STARTING:
        return True
    values: dict[str, object] = {"started_at": held.started_at or utcnow()}
    if log_path:
        values["log_path"] = log_path
    worker = session.scalar(select(Worker.name).where(Worker.id == held.worker_id))
    where = continues(held.checkpoint_step) if held.checkpoint_step else "training"
    return move(session, held, RunState.RUNNING, actor=f"worker {worker}", reason=where, **values)


def progress(session: Session, run_id: str, fence: int, progress: Progress) -> bool:
    """Store where a run stands. False: the claim was lost."""
    values: dict[str, object] = {
        "phase": progress.phase[:16],
        "last_step": progress.step,
        "total_steps": progress.total_steps,
        "seconds_per_step": progress.seconds_per_step,
        "group_size": progress.group,
    }
    if progress.num_trainable:
        values["num_trainable"] = dict(progress.num_trainable)
    changed = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.fence == fence, Run.state.in_(list(ACTIVE)))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return row_count(changed) == 1


def notice(session: Session, run_id: str, fence: int, text: str) -> bool:
    """Add a line to what people should read about the living attempt. False: the claim was lost.

    The same line again changes nothing, so that a write may be repeated.
    """
    if lock_claimed(session, run_id, fence) is None:
        return False
    line = " ".join(plain_text(text).split())
    told = session.scalar(
        select(Attempt.notice).where(Attempt.run_id == run_id, Attempt.fence == fence)
    )
    lines = told.splitlines() if told else []
    if line and line not in lines and len("\n".join((*lines, line))) <= NOTICE_LENGTH:
        session.execute(_living(run_id, fence).values(notice="\n".join((*lines, line))))
    return True


def stalled(session: Session, run_id: str, fence: int, is_stalled: bool) -> bool:
    """Note that a held run makes no progress, or does so again. False: the claim was lost."""
    changed = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.fence == fence, Run.state.in_(list(ACTIVE)))
        .values(is_stalled=is_stalled)
        .execution_options(synchronize_session=False)
    )
    return row_count(changed) == 1


def beat(
    session: Session,
    worker_id: str,
    fences: Mapping[str, int],
    *,
    waiting: Collection[str] = (),
    memory_used: int = 0,
) -> dict[str, Beat]:
    """Renew the worker's lease and learn what to do with each run that it holds.

    A worker that was held for lost counts as alive again; its runs are gone all the same.
    A run in its name that it does not know of goes back to the queue, its budgets untouched: the
    claim was committed, but the answer did not arrive.

    Args:
        fences: Fence of each run by id.
        waiting: Runs whose end the worker knows and has not yet written.
        memory_used: Memory of its device in use, in bytes; 0 when it is not known.

    Returns:
        For each run None (go on), ``StopKind.CANCEL``, or "lost" (stop, write nothing more).
    """
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(
            hb_seq=Worker.hb_seq + 1,
            hb_at=utcnow(),
            state="alive",
            memory_used=max(0, memory_used),
        )
        .execution_options(synchronize_session=False)
    )
    rows = session.execute(
        select(Run.id, Run.state, Run.fence).where(
            Run.worker_id == worker_id, Run.state.in_(list(ACTIVE))
        )
    ).all()
    states = {row.id: row.state for row in rows if row.fence == fences.get(row.id)}
    known = {*fences, *waiting}
    if any(row.id not in known for row in rows):
        detail = "the worker's claim was lost on its way"
        give_back_held(session, worker_id, Outcome.DRAINED, detail, but=known)
    answers: dict[str, Beat] = {}
    for run_id in fences:
        if run_id not in states:
            answers[run_id] = "lost"
        elif states[run_id] == RunState.STOPPING:
            answers[run_id] = StopKind.CANCEL
        else:
            answers[run_id] = None
    return answers


def _fitting(first: Held, beside: Sequence[Held], memory_bytes: int) -> list[Held]:
    """Keep the partners, in their order, whose sum of memory fits; 0 is unknown and fits."""
    found, total = [first], first.memory_bytes
    for held in beside:
        if not memory_bytes or total + held.memory_bytes <= memory_bytes:
            found.append(held)
            total += held.memory_bytes
    return found


def _living(run_id: str, fence: int) -> Update:
    """Change the attempt of a claim while it lives."""
    return (
        update(Attempt)
        .where(Attempt.run_id == run_id, Attempt.fence == fence, Attempt.ended_at.is_(None))
        .execution_options(synchronize_session=False)
    )


def _take(session: Session, held: Held, worker_id: str, worker: str, group_size: int) -> bool:
    """Move one queued run into the worker's hands; drop what stands above its checkpoint."""
    reason = f"claimed by worker {worker}"
    if group_size > 1:
        reason += f" in a group of {group_size}"
    moved = move(
        session,
        held,
        RunState.STARTING,
        actor=f"worker {worker}",
        reason=reason,
        worker_id=worker_id,
        fence=held.fence + 1,
        attempt=held.attempt + 1,
        group_size=group_size,
        last_step=held.checkpoint_step,
        phase="",
        is_stalled=False,
        not_before=None,
    )
    if not moved:
        return False
    dropped = truncate_above(session, held.id, held.checkpoint_step)
    if dropped:
        session.execute(
            update(Run)
            .where(Run.id == held.id, Run.fence == held.fence + 1)
            .values(curve_epoch=held.curve_epoch + 1)
            .execution_options(synchronize_session=False)
        )
    session.execute(
        insert(Attempt).values(
            run_id=held.id,
            attempt=held.attempt + 1,
            fence=held.fence + 1,
            worker_id=worker_id,
            resumed_from_step=held.checkpoint_step,
            discarded_points=dropped,
            outcome="",
        )
    )
    return True


def _claimed(session: Session, run_ids: Sequence[str]) -> list[ClaimedRun]:
    rows = session.execute(
        select(
            Run.id,
            Run.study_id,
            Run.ordinal,
            Run.config,
            Run.fence,
            Run.attempt,
            Run.priority,
            Run.checkpoint_step,
            Run.curve_epoch,
            Study.number,
        )
        .join(Study, Study.id == Run.study_id)
        .where(Run.id.in_(run_ids))
    ).all()
    folders = session.execute(
        select(Checkpoint.run_id, Checkpoint.folder)
        .join(Run, (Run.id == Checkpoint.run_id) & (Run.checkpoint_step == Checkpoint.step))
        .where(Checkpoint.run_id.in_(run_ids), Checkpoint.state == "registered")
        .order_by(Checkpoint.attempt)
    )
    checkpoints = {row.run_id: row.folder for row in folders}
    by_id = {
        row.id: ClaimedRun(
            id=row.id,
            study_id=row.study_id,
            slug=f"S{row.number}-{row.ordinal}",
            config=row.config,
            fence=row.fence,
            attempt=row.attempt,
            priority=row.priority,
            checkpoint=checkpoints.get(row.id),
            checkpoint_step=row.checkpoint_step,
            curve_epoch=row.curve_epoch,
        )
        for row in rows
    }
    return [by_id[run_id] for run_id in run_ids]
