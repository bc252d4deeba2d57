"""Studies: creation with their runs, the sealed test, and the tuning protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from core.recipe import Recipe, RunConfig, canonical_json, group_key
from core.recipe_parts import Seeds
from core.states import ENDED, RunState
from core.store.clock import utcnow
from core.store.columns import new_id
from core.store.models import DEFAULT_QUEUE, Run, RunEvent, Study
from core.store.moves import serialise
from core.store.order import set_priority
from core.store.study_events import lock_study, no_study, record
from core.store.waiting import queue_names
from core.tuning import TrialResult, Winner, final_configs, trials, winner
from core.wording import counted

STUDY_LOCK = 7_301
LATE = "studies to settle late"
MemoryOf = Callable[[RunConfig], int]

__all__ = [
    "CreatedStudy",
    "advance",
    "create_study",
    "is_test_open",
    "mark_cancelled",
    "open_test",
    "set_priority",
    "settle",
    "settling_late",
]


@dataclass(frozen=True)
class CreatedStudy:
    """A study and its runs in order; ``is_new`` is False when the key was known already."""

    id: str
    number: int
    run_ids: tuple[str, ...]
    is_new: bool


def create_study(
    session: Session,
    recipe: Recipe,
    configs: Sequence[RunConfig],
    *,
    idempotency_key: str = "",
    priority: int = 0,
    is_demo: bool = False,
    queue: str = DEFAULT_QUEUE,
    memory_of: MemoryOf = lambda _config: 0,
) -> CreatedStudy:
    """Insert a study and its queued runs; the same key again returns the first study.

    Under the protocol ``tuned`` the runs are the trials of each cell (see ``core.tuning``); the
    finals follow by themselves when all trials of their cell have ended.

    Args:
        recipe: What the person asked for; kept as JSON.
        configs: The final runs, ``recipe.runs()`` with task folder and data version filled in.
        idempotency_key: Names the submission, so that a double click makes one study.
        queue: Name of the queue that its runs wait in.
        memory_of: Estimates the memory that a run needs, in bytes; 0: not known. Asked once for
            runs that differ in seeds alone.

    Raises:
        ConfigError: If the queue's name is none.
    """
    (queue,) = queue_names([queue])
    if idempotency_key and (known := _by_key(session, idempotency_key)):
        return known
    planned, role = _plan(recipe, configs)
    memory = _memory([config for _, config in planned], memory_of)
    serialise(session, STUDY_LOCK)
    if idempotency_key and (known := _by_key(session, idempotency_key)):
        return known
    number = (session.scalar(select(func.max(Study.number))) or 0) + 1
    study = Study(
        id=new_id(),
        number=number,
        name=recipe.name,
        question=recipe.question,
        recipe=canonical_json(recipe.model_dump(mode="json")),
        protocol=recipe.tuning.protocol,
        priority=priority,
        queue=queue,
        is_demo=is_demo,
        idempotency_key=idempotency_key or None,
    )
    session.add(study)
    session.flush()
    run_ids = _insert_runs(session, study, planned, role=role, memory=memory)
    return CreatedStudy(study.id, number, tuple(run_ids), True)


def open_test(session: Session, study_id: str, actor: str = "user") -> int:
    """Record that a person opened the test before the study closed; return how often by now.

    Raises:
        NotFound: If there is no such study.
    """
    study = lock_study(session, study_id)
    study.test_openings += 1
    study.test_opened_at = study.test_opened_at or utcnow()
    record(session, study_id, "test_opened", f"The test was opened by {actor}.", repeat=True)
    session.flush()
    return study.test_openings


def is_test_open(session: Session, study_id: str) -> bool:
    """Tell whether numbers of the test split may be shown: closed, or opened on purpose.

    Raises:
        NotFound: If there is no such study.
    """
    row = session.execute(
        select(Study.closed_at, Study.test_opened_at).where(Study.id == study_id)
    ).one_or_none()
    if row is None:
        raise no_study(study_id)
    return row.closed_at is not None or row.test_opened_at is not None


def mark_cancelled(session: Session, study_id: str, actor: str) -> None:
    """Note that a study is cancelled as a whole, so that no finals follow."""
    study = lock_study(session, study_id)
    if study.cancelled_at is None:
        study.cancelled_at = utcnow()
        record(session, study_id, "cancelled", f"Cancelled by {actor}.", repeat=True)
        session.flush()


@contextmanager
def settling_late(session: Session) -> Iterator[None]:
    """Let studies wait until all changes inside are made: to lock runs after one could deadlock."""
    due: set[str] = set()
    session.info[LATE] = due
    try:
        yield
    finally:
        del session.info[LATE]
    settle(session, due)


def settle(session: Session, study_ids: Collection[str]) -> None:
    """Create the finals that are due, and close or reopen studies; call it after runs moved.

    Call it once at the end of a transaction, after all runs were locked, or several times inside
    ``settling_late``.
    """
    late: set[str] | None = session.info.get(LATE)
    if late is not None:
        late.update(study_ids)
        return
    for study_id in sorted(study_ids):
        study = lock_study(session, study_id)
        if study.protocol == "tuned":
            advance(session, study)
        waiting = session.scalar(
            select(func.count())
            .select_from(Run)
            .where(Run.study_id == study_id, Run.state.not_in(list(ENDED)))
        )
        if waiting:
            study.closed_at = None
        elif study.closed_at is None:
            study.closed_at = utcnow()
        session.flush()


def advance(session: Session, study: Study) -> int:
    """Create the final runs of each cell whose trials have all ended; return their number.

    A cell without a succeeded trial is told once in the study's events and gets no finals. In a
    cancelled study only cells go on whose cancelled trials were all tried again.
    """
    seeds = Seeds.model_validate(json.loads(study.recipe)["seeds"])
    created = 0
    for cell in _due_cells(session, study):
        rows = session.execute(
            select(Run.config, Run.state, Run.result, Run.memory_bytes)
            .where(Run.study_id == study.id, Run.cell == cell, Run.role == "trial")
            .order_by(Run.ordinal)
        ).all()
        results = [
            TrialResult(
                RunConfig.model_validate_json(row.config),
                row.result if row.state == RunState.SUCCEEDED else None,
            )
            for row in rows
        ]
        chosen = winner(results)
        what = _describe(results[0].config)
        if chosen is None:
            sentence = _no_winner(what, results[0].config)
            record(session, study.id, "no_winner", sentence, subject=cell)
            continue
        finals = [(cell, config) for config in final_configs(chosen.config, seeds)]
        memory = dict.fromkeys(
            (config.config_hash for _, config in finals), max(row.memory_bytes for row in rows)
        )
        created += len(_insert_runs(session, study, finals, role="final", memory=memory))
        queued = counted(len(finals), "final run")
        sentence = f"{what}: {_choice(chosen)}; queued with it: {queued}."
        record(session, study.id, "winner", sentence, subject=cell, repeat=True)
    return created


def _no_winner(what: str, config: RunConfig) -> str:
    if config.selection == "fold":
        return (
            f"No setting of {what} succeeded on all its folds, so none can be compared; it gets no "
            "final runs."
        )
    return f"Every trial of {what} failed or was cancelled; it gets no final runs."


def _choice(chosen: Winner) -> str:
    """Say which setting won, how it was compared, and how its finals are trained."""
    config = chosen.config
    rates = {k: v for k, v in config.method.learning_rates.model_dump().items() if v}
    told = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
    if config.selection != "refit":
        return (
            f"of {chosen.settings} trials the one with learning rates {told} was best on dev and "
            "is trained again with fresh seeds"
        )
    failed = chosen.settings - chosen.judged
    without = f" ({failed} left out, because not all of their folds succeeded)" if failed else ""
    return (
        f"of {chosen.settings} settings{without} the one with learning rates {told} was best on "
        f"the mean over {chosen.folds} folds and is trained again on all of train, for "
        f"{config.training.max_updates} updates, the mean of its folds' best, with fresh seeds"
    )


def _describe(config: RunConfig) -> str:
    return (
        f"{config.method.label} on {config.task_label} "
        f"({config.backbone.label}, {config.regime.label})"
    )


def _due_cells(session: Session, study: Study) -> list[str]:
    """Cells whose trials have all ended and that have no finals, in the order of the study."""
    done = ENDED - {RunState.CANCELLED} if study.cancelled_at else ENDED
    with_finals = select(Run.cell).where(Run.study_id == study.id, Run.role == "final")
    open_cells = select(Run.cell).where(
        Run.study_id == study.id, Run.role == "trial", Run.state.not_in(list(done))
    )
    rows = session.execute(
        select(Run.cell)
        .where(
            Run.study_id == study.id,
            Run.role == "trial",
            Run.cell.not_in(with_finals),
            Run.cell.not_in(open_cells),
        )
        .group_by(Run.cell)
        .order_by(func.min(Run.ordinal))
    )
    return [row.cell for row in rows]


def _plan(recipe: Recipe, configs: Sequence[RunConfig]) -> tuple[list[tuple[str, RunConfig]], str]:
    """First runs of a study with their cells, and their role."""
    if recipe.tuning.protocol == "tuned":
        return [(trial.cell, trial.config) for trial in trials(recipe, configs)], "trial"
    return [(config.config_hash, config) for config in configs], "final"


def _memory(configs: Sequence[RunConfig], memory_of: MemoryOf) -> dict[str, int]:
    """Estimate the memory of runs by the hash of their configs, in bytes."""
    by_hash = {config.config_hash: config for config in configs}
    return {key: max(0, memory_of(config)) for key, config in by_hash.items()}


def _insert_runs(
    session: Session,
    study: Study,
    planned: Sequence[tuple[str, RunConfig]],
    *,
    role: str,
    memory: Mapping[str, int],
) -> list[str]:
    if not planned:
        return []
    before = session.scalar(select(func.max(Run.ordinal)).where(Run.study_id == study.id)) or 0
    now = utcnow()
    rows = []
    for ordinal, (cell, config) in enumerate(planned, start=before + 1):
        run_id = new_id()
        rows.append(
            {
                "id": run_id,
                "study_id": study.id,
                "ordinal": ordinal,
                "config": config.canonical_json(),
                "config_hash": config.config_hash,
                "cell": cell,
                "group_key": group_key(config, run_id),
                "task": config.task_label,
                "backbone": config.backbone.label,
                "regime": config.regime.label,
                "method_kind": config.method.kind,
                "method_label": (
                    config.method.tried_label if role == "trial" else config.method.label
                ),
                "data_seed": config.seeds.data,
                "init_seed": config.seeds.init,
                "role": role,
                "priority": study.priority,
                "queue": study.queue,
                "memory_bytes": memory[config.config_hash],
                "created_at": now,
            }
        )
    session.execute(insert(Run), rows)
    session.execute(
        insert(RunEvent),
        [
            {
                "run_id": row["id"],
                "version": 1,
                "before": "",
                "after": RunState.QUEUED.value,
                "actor": "studio" if role == "final" and before else "user",
                "reason": f"queued as {role} run {row['ordinal']} of study {study.slug}",
                "at": now,
            }
            for row in rows
        ],
    )
    return [str(row["id"]) for row in rows]


def _by_key(session: Session, key: str) -> CreatedStudy | None:
    row = session.execute(
        select(Study.id, Study.number).where(Study.idempotency_key == key)
    ).one_or_none()
    if row is None:
        return None
    run_ids = session.scalars(
        select(Run.id).where(Run.study_id == row.id).order_by(Run.ordinal)
    ).all()
    return CreatedStudy(row.id, row.number, tuple(run_ids), False)
