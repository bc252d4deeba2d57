"""How attempts end and runs come back: endings, lost workers, cancel and retry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from core.errors import DamagedCheckpoint, NotFound
from core.reporting import Ending
from core.states import ACTIVE, ENDED, Outcome, RunState
from core.store.checkpoints import give_up_newest, made_one, newest_step
from core.store.clock import utcnow
from core.store.columns import plain_text
from core.store.leases import Observation
from core.store.models import INFRA_BUDGET, OOM_BUDGET, Attempt, Run, Worker
from core.store.models_data import Artifact
from core.store.moves import (
    Held,
    in_order,
    lock,
    lock_claimed,
    lock_run,
    move,
    row_count,
    select_held,
)
from core.store.outcomes import (
    HOST_MEMORY,
    Following,
    after,
    after_damage,
    after_death_of_group,
    after_stop,
    has_served_alone,
)
from core.store.scalars import seal
from core.store.studies import mark_cancelled, settle
from core.wording import counted

LOG_TAIL_LENGTH = 8_000
"""What is kept of the end of an attempt's log, in characters."""

_KINDS = {
    Outcome.CRASHED: "trainer_died",
    Outcome.STALLED: "stalled",
    Outcome.OUT_OF_MEMORY: HOST_MEMORY,
}


def end_attempt(
    session: Session,
    run_id: str,
    fence: int,
    ending: Ending,
    *,
    files: Mapping[str, str] | None = None,
    log_tail: str = "",
) -> RunState | None:
    """End the attempt and move the run on; closes the study or creates its finals when due.

    succeeded -> succeeded. failed -> failed, never retried. drained -> queued. crashed, lost,
    stalled -> queued after a while as long as their common budget lasts, then failed
    ``crash_loop``, ``lost`` or ``stalled``. A damaged checkpoint is given up: queued from the one
    before while that budget lasts. out_of_memory -> queued to run alone when it was in a group,
    once more when it was the host's memory (kind ``oom_host``), else failed with advice. A run
    that was asked to stop is cancelled whatever the outcome. See ``outcomes``.

    Args:
        ending: What the trainer (or the supervisor for a dead trainer) says.
        files: Artifact paths to write down; by default those of ``ending``.
        log_tail: Last lines of the trainer's log.

    Returns:
        The new state; None: the claim was lost, nothing was changed.
    """
    held = lock_claimed(session, run_id, fence)
    if held is None:
        return None
    if held.state is RunState.STARTING and ending.outcome is Outcome.SUCCEEDED:
        # The note that training began may have been lost; the table has no shorter way.
        move(session, held, RunState.RUNNING, actor=_actor(session, held), reason="training")
        held = lock_claimed(session, run_id, fence)
        if held is None:
            return None
    state = _end(session, held, ending, log_tail=log_tail)
    if state is RunState.SUCCEEDED:
        paths = files if files is not None else {k: str(v) for k, v in ending.files.items()}
        session.execute(delete(Artifact).where(Artifact.run_id == run_id))
        if paths:
            session.execute(
                insert(Artifact),
                [{"run_id": run_id, "name": name, "path": path} for name, path in paths.items()],
            )
    if state in ENDED:
        settle(session, {held.study_id})
    return state


def release_all(
    session: Session,
    worker_id: str,
    fences: Mapping[str, int],
    detail: str,
    *,
    outcome: Outcome = Outcome.CRASHED,
    log_tails: Mapping[str, str] | None = None,
) -> dict[str, RunState]:
    """Give back the runs of a trainer that died, or was ended, without naming the culprit.

    Several runs go back to the queue to run alone, their budgets untouched; for a single one the
    outcome counts. Runs whose claim was lost are left out of the answer.

    Args:
        detail: What happened, for example "trainer died (signal 9)".
        outcome: ``crashed``, ``stalled``, or ``out_of_memory`` (of the host).
        log_tails: Last lines of the trainer's log by run id.
    """
    alone = len(fences) == 1
    ending = Ending(outcome, kind=_KINDS[outcome], detail=detail)
    return _give_back(
        session, worker_id, fences, ending, must_run_alone=not alone, log_tails=log_tails
    )


def drain_all(
    session: Session,
    worker_id: str,
    fences: Mapping[str, int],
    detail: str,
    *,
    log_tails: Mapping[str, str] | None = None,
) -> dict[str, RunState]:
    """Give back runs because the worker ends or makes room; budgets untouched."""
    ending = Ending(Outcome.DRAINED, kind="drained", detail=detail)
    return _give_back(session, worker_id, fences, ending, log_tails=log_tails)


def give_back_held(
    session: Session,
    worker_id: str,
    outcome: Outcome,
    detail: str,
    *,
    but: Collection[str] = (),
) -> dict[str, RunState]:
    """Give back all runs that stand in a worker's name, except some.

    Args:
        outcome: ``drained`` or ``lost``; the latter costs the run's budget.
        but: Runs that the worker knows of.
    """
    mine = (Run.worker_id == worker_id, Run.state.in_(list(ACTIVE)), Run.id.not_in(list(but)))
    fences = {row.id: row.fence for row in session.execute(select(Run.id, Run.fence).where(*mine))}
    ending = Ending(outcome, kind=outcome.value, detail=detail)
    return _give_back(session, worker_id, fences, ending)


def expire(session: Session, observations: list[Observation]) -> dict[str, RunState]:
    """Take the runs from workers whose heartbeat counter still is what the observer saw.

    Args:
        observations: From ``LeaseObserver.expired``, or of workers known to be dead.

    Returns:
        New state of each run that was taken away.
    """
    taken: list[str] = []
    for observation in sorted(observations, key=lambda item: item.worker_id):
        lost = session.execute(
            update(Worker)
            .where(
                Worker.id == observation.worker_id,
                Worker.hb_seq == observation.hb_seq,
                Worker.state == "alive",
            )
            .values(state="lost")
            .execution_options(synchronize_session=False)
        )
        if row_count(lost) == 1:
            taken.append(observation.worker_id)
    states: dict[str, RunState] = {}
    studies: set[str] = set()
    query = select_held(Run.worker_id.in_(taken), Run.state.in_(list(ACTIVE)))
    for held in lock(session, query.order_by(Run.id)) if taken else ():
        ending = Ending(Outcome.LOST, kind="lost", detail=f"{_actor(session, held)} was lost")
        state = _end(session, held, ending, actor="studio", fence=held.fence + 1)
        if state is not None:
            states[held.id] = state
            studies.add(held.study_id)
    settle(session, studies)
    return states


def request_cancel(session: Session, run_id: str, actor: str = "user") -> RunState:
    """Cancel a queued run at once, ask a held one to stop; return its state now.

    Raises:
        NotFound: If there is no such run.
    """
    held = _found(session, run_id)
    state = _cancel(session, held, actor)
    if state is RunState.CANCELLED:
        settle(session, {held.study_id})
    return state


def cancel_study(session: Session, study_id: str, actor: str = "user") -> int:
    """Cancel all runs that have not ended, and create no finals any more; return their number.

    Raises:
        NotFound: If there is no such study.
    """
    query = select_held(Run.study_id == study_id, Run.state.not_in(list(ENDED)))
    runs = lock(session, query.order_by(Run.id))
    mark_cancelled(session, study_id, actor)
    for held in runs:
        _cancel(session, held, actor)
    settle(session, {study_id})
    return len(runs)


def retry(session: Session, run_id: str, actor: str = "user") -> RunState:
    """Queue a failed or cancelled run again with fresh budgets; return its state now.

    It continues from its newest registered checkpoint, and may join others. Any other state is
    left as it is. A cancelled study stays cancelled: only cells of which no trial is cancelled any
    more get their finals.

    Raises:
        NotFound: If there is no such run.
    """
    held = _found(session, run_id)
    if held.state not in (RunState.FAILED, RunState.CANCELLED):
        return held.state
    step = newest_step(session, run_id)
    start = f"update {step}" if step else "the beginning"
    move(
        session,
        held,
        RunState.QUEUED,
        actor=actor,
        reason=f"queued again by {actor}; continues from {start}",
        checkpoint_step=step,
        must_run_alone=False,
        infra_left=INFRA_BUDGET,
        oom_left=OOM_BUDGET,
        not_before=None,
        cancel_requested_at=None,
        exit_kind="",
        exit_detail="",
        result=None,
        ended_at=None,
    )
    settle(session, {held.study_id})
    return RunState.QUEUED


def _cancel(session: Session, held: Held, actor: str) -> RunState:
    now = utcnow()
    if held.state is RunState.QUEUED:
        when = f"while it waited, after {counted(held.last_step, 'update')}"
        reason = f"cancelled by {actor} {when if held.attempt else 'before it began'}"
        moved = move(
            session,
            held,
            RunState.CANCELLED,
            actor=actor,
            reason=reason,
            ended_at=now,
            cancel_requested_at=now,
            exit_kind="cancelled",
            exit_detail=reason,
            not_before=None,
        )
        return RunState.CANCELLED if moved else held.state
    if held.state in (RunState.STARTING, RunState.RUNNING):
        reason = f"{actor} asked it to stop; it stops at the next update"
        moved = move(
            session, held, RunState.STOPPING, actor=actor, reason=reason, cancel_requested_at=now
        )
        return RunState.STOPPING if moved else held.state
    return held.state


def _give_back(
    session: Session,
    worker_id: str,
    fences: Mapping[str, int],
    ending: Ending,
    *,
    must_run_alone: bool = False,
    log_tails: Mapping[str, str] | None = None,
) -> dict[str, RunState]:
    states: dict[str, RunState] = {}
    studies = set()
    for run_id in in_order(fences):
        held = lock_claimed(session, run_id, fences[run_id])
        if held is None or held.worker_id != worker_id:
            continue
        log_tail = (log_tails or {}).get(run_id, "")
        state = _end(session, held, ending, must_run_alone=must_run_alone, log_tail=log_tail)
        if state is not None:
            states[run_id] = state
            studies.add(held.study_id)
    settle(session, studies)
    return states


def _end(
    session: Session,
    held: Held,
    ending: Ending,
    *,
    actor: str = "",
    fence: int | None = None,
    must_run_alone: bool = False,
    log_tail: str = "",
) -> RunState | None:
    """Move one locked run out of its attempt; None when somebody was faster."""
    ending = replace(ending, detail=plain_text(ending.detail))
    log_tail = plain_text(log_tail)[-LOG_TAIL_LENGTH:]
    is_damaged = ending.kind == DamagedCheckpoint.code and held.checkpoint_step > 0
    previous = give_up_newest(session, held.id) if is_damaged else held.checkpoint_step
    if is_damaged and held.state is not RunState.STOPPING:
        following = after_damage(held, ending, previous)
    else:
        following = _following(held, ending, must_run_alone=must_run_alone)
    now = utcnow()
    values = {"checkpoint_step": previous, **following.values}
    made_checkpoint = held.must_run_alone and made_one(session, held.id, held.attempt)
    if has_served_alone(held, ending, made_checkpoint=made_checkpoint):
        values.setdefault("must_run_alone", False)
    if fence is not None:
        values["fence"] = fence
    if following.state in ENDED:
        values |= {"ended_at": now, "seconds_per_step": 0.0, "phase": ""}
    moved = move(
        session,
        held,
        following.state,
        actor=actor or _actor(session, held),
        reason=following.reason,
        **values,
    )
    if not moved:
        return None
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == held.id, Attempt.attempt == held.attempt)
        .values(
            outcome=ending.outcome.value,
            kind=ending.kind[:40],
            detail=ending.detail,
            last_step=held.last_step,
            ended_at=now,
            **({"log_tail": log_tail} if log_tail else {}),
        )
        .execution_options(synchronize_session=False)
    )
    if following.state in ENDED:
        seal(session, held.id)
    return following.state


def _following(held: Held, ending: Ending, *, must_run_alone: bool) -> Following:
    """Say where an ended attempt leads; the checkpoint is not damaged."""
    if held.state is RunState.STOPPING:
        return after_stop(held, ending)
    if must_run_alone:
        return after_death_of_group(held, ending)
    return after(held, ending)


def _actor(session: Session, held: Held) -> str:
    name = session.scalar(select(Worker.name).where(Worker.id == held.worker_id))
    return f"worker {name}" if name else "worker"


def _found(session: Session, run_id: str) -> Held:
    held = lock_run(session, run_id)
    if held is None:
        raise NotFound(f"There is no run {run_id}.", hint="The Runs page lists all runs.")
    return held
