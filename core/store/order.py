"""Who comes first: priorities of studies and of single queued runs."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import ConfigError, NotFound
from core.states import RunState
from core.store.models import Run
from core.store.moves import lock, lock_run, select_held, serialise, update_held
from core.store.study_events import lock_study, record

ORDER_LOCK = 7_302
PRIORITY_LIMIT = 1_000
USER_PRIORITY = 0
"""Priority of what people queue, unless they say otherwise."""


def to_front(session: Session, run_id: str, actor: str = "user") -> bool:
    """Let a queued run be claimed before all others. False: it is not queued any more.

    It is told in the events of its study. Twice changes nothing.

    Raises:
        NotFound: If there is no such run.
    """
    serialise(session, ORDER_LOCK)
    held = lock_run(session, run_id)
    if held is None:
        raise NotFound(f"There is no run {run_id}.", hint="The Runs page lists all runs.")
    if held.state is not RunState.QUEUED:
        return False
    highest = session.scalar(
        select(func.max(Run.priority)).where(Run.state == RunState.QUEUED.value, Run.id != run_id)
    )
    wanted = max(USER_PRIORITY, USER_PRIORITY if highest is None else highest) + 1
    if held.priority < wanted:
        if not update_held(session, held, priority=wanted):
            return False
        lock_study(session, held.study_id)
        record(
            session,
            held.study_id,
            "to_front",
            f"Run {held.ordinal} was put to the front by {actor}.",
            subject=run_id,
            repeat=True,
        )
    return True


def set_priority(session: Session, study_id: str, priority: int, actor: str = "user") -> int:
    """Change the priority of a study, its queued runs and the finals to come.

    Runs that a worker holds go on. It is told in the study's events.

    Returns:
        Queued runs whose priority changed, a count.

    Raises:
        ConfigError: If the priority is out of range.
        NotFound: If there is no such study.
    """
    if not -PRIORITY_LIMIT <= priority <= PRIORITY_LIMIT:
        raise ConfigError(
            f"{priority} is no priority.",
            field="priority",
            hint=f"Give a whole number from {-PRIORITY_LIMIT} to {PRIORITY_LIMIT}; runs of people "
            "have 0, the demo has -10.",
        )
    wanting = select_held(
        Run.study_id == study_id, Run.state == RunState.QUEUED.value, Run.priority != priority
    ).order_by(Run.id)
    waiting = lock(session, wanting)
    study = lock_study(session, study_id)
    # Finals that were queued meanwhile. One that is locked is being claimed or cancelled just now;
    # to wait for it with the study locked could wait for ever.
    waiting += [
        held
        for held in lock(session, wanting, skip_locked=True)
        if held.id not in {seen.id for seen in waiting}
    ]
    session.execute(
        update(Run)
        .where(Run.id.in_([held.id for held in waiting]), Run.state == RunState.QUEUED.value)
        .values(priority=priority)
        .execution_options(synchronize_session=False)
    )
    if study.priority != priority or waiting:
        study.priority = priority
        sentence = f"{actor} set the priority to {priority}."
        record(session, study_id, "priority", sentence, repeat=True)
        session.flush()
    return len(waiting)
