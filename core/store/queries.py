"""What pages ask; no query per run, and no raw points."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Integer, cast, func, select
from sqlalchemy.orm import Session

from core.states import ACTIVE, RunState
from core.store.apart import told_apart
from core.store.clock import utcnow
from core.store.models import Run, RunEvent, Study, StudyEvent, Worker
from core.store.models_data import Artifact, Checkpoint, Histogram, ScalarSummary
from core.store.query_rows import (
    CLAIM_ORDER,
    find_run_id,
    find_study,
    run_events,
    run_row,
    run_rows,
    select_runs,
    selections,
    shown_result,
    state_counts,
    study_events,
    study_rows,
)
from core.store.run_filters import conditions, counts_where, facets, group_keys
from core.store.views import (
    CheckpointRow,
    ComparisonRow,
    ConfigGroup,
    EventRow,
    GroupsPage,
    HomeView,
    PlaygroundRun,
    RunFilters,
    RunRow,
    RunView,
    StudyRow,
    StudyView,
    SummaryRow,
)
from core.store.workers import list_workers, worker_rows

ALL_RUNS = RunFilters()
MAX_COMPARED = 5_000
ATTENTION = timedelta(days=7)


def home(session: Session) -> HomeView:
    """Everything that the first page shows."""
    active = select_runs(Run.state.in_(list(ACTIVE))).order_by(*CLAIM_ORDER).limit(20)
    waiting = select_runs(Run.state == RunState.QUEUED.value).order_by(*CLAIM_ORDER).limit(10)
    newest = Run.ended_at.desc()
    attention = select_runs(Run.state == RunState.FAILED.value, Run.ended_at > utcnow() - ATTENTION)
    finished = select_runs(Run.state == RunState.SUCCEEDED.value)
    demo = session.scalars(
        select(Study).where(Study.is_demo).order_by(Study.number.desc()).limit(1)
    ).all()
    return HomeView(
        states=state_counts(session, ALL_RUNS),
        active=run_rows(session, active),
        waiting=tuple(
            run_row(row, position) for position, row in enumerate(session.execute(waiting), 1)
        ),
        attention=run_rows(session, attention.order_by(newest).limit(10)),
        finished=run_rows(session, finished.order_by(newest).limit(10)),
        studies=tuple(studies(session, limit=10)),
        workers=tuple(list_workers(session)),
        demo=study_rows(session, demo)[0] if demo else None,
    )


def config_groups(
    session: Session, filters: RunFilters = ALL_RUNS, limit: int = 50, offset: int = 0
) -> GroupsPage:
    """Runs folded by study and config, newest study first; ``limit`` counts groups."""
    where = conditions(session, filters)
    states, counted = counts_where(session, where)
    tasks, methods = facets(session)
    keys = group_keys(session, where, counted, limit, offset)
    query = select_runs(
        Run.study_id.in_({study_id for study_id, _ in keys}),
        Run.config_hash.in_({config_hash for _, config_hash in keys}),
        *where,
    )
    folded: dict[tuple[str, str], list[RunRow]] = {key: [] for key in keys}
    # Sorted here: an index in the order of runs would be walked over whole studies.
    for row in sorted(run_rows(session, query), key=lambda row: row.ordinal):
        # Studies may share configs of which only one study's are on this page.
        if (key := (row.study_id, row.config_hash)) in folded:
            folded[key].append(row)
    return GroupsPage(
        groups=tuple(
            ConfigGroup(study_id, config_hash, tuple(rows))
            for (study_id, config_hash), rows in folded.items()
        ),
        total=sum(counted.values()),
        num_runs=sum(states.values()),
        limit=limit,
        offset=offset,
        states=states,
        tasks=tasks,
        methods=methods,
    )


def studies(session: Session, limit: int = 50, offset: int = 0) -> list[StudyRow]:
    """Studies, newest first."""
    query = select(Study).order_by(Study.number.desc()).limit(limit).offset(offset)
    return study_rows(session, session.scalars(query).all())


def studies_of(session: Session, study_ids: Collection[str]) -> list[StudyRow]:
    """Studies of these ids, newest first."""
    query = select(Study).where(Study.id.in_(study_ids)).order_by(Study.number.desc())
    return study_rows(session, session.scalars(query).all())


def study_names(session: Session, limit: int = 50) -> dict[str, tuple[str, str]]:
    """Short name and name of the newest studies by id, newest first, for lists to choose from."""
    query = select(Study.id, Study.number, Study.name).order_by(Study.number.desc()).limit(limit)
    return {row.id: (f"S{row.number}", row.name) for row in session.execute(query)}


def study_overview(session: Session, study_id: str) -> StudyView:
    """One study with its runs and events, by id or short name (``S3``).

    Raises:
        NotFound: If there is no such study.
    """
    study = find_study(session, study_id)
    runs = run_rows(session, select_runs(Run.study_id == study.id).order_by(Run.ordinal))
    return StudyView(
        row=study_rows(session, [study])[0],
        recipe=study.recipe,
        runs=runs,
        events=tuple(events(session, study_id=study.id)),
    )


def run_view(session: Session, run_id: str) -> RunView:
    """Everything of one run's page, by id or short name (``S3-12``).

    Raises:
        NotFound: If there is no such run.
    """
    run_id = find_run_id(session, run_id)
    row = run_rows(session, select_runs(Run.id == run_id))[0]
    if row.state is RunState.QUEUED:
        row = replace(row, queue_position=_queue_position(session, row))
    rest = session.execute(
        select(Run.config, Run.result, Run.curve_epoch, Run.log_path).where(Run.id == run_id)
    ).one()
    study = study_rows(session, [find_study(session, row.study_id)])[0]
    worker = session.scalars(select(Worker).where(Worker.id == row.worker_id)).all()
    histograms = select(Histogram.name).where(Histogram.run_id == run_id).distinct()
    artifacts = select(Artifact.name, Artifact.path).where(Artifact.run_id == run_id)
    return RunView(
        row=row,
        study=study,
        config=rest.config,
        result=shown_result(rest.result, is_test_open=study.is_test_open),
        is_test_open=study.is_test_open,
        summaries=summaries(session, [run_id]).get(run_id, {}),
        histograms=tuple(session.scalars(histograms.order_by(Histogram.name))),
        checkpoints=_checkpoints(session, run_id),
        artifacts={found.name: found.path for found in session.execute(artifacts)},
        events=tuple(events(session, run_ids=[run_id])),
        worker=worker_rows(session, worker)[0] if worker else None,
        curve_epoch=rest.curve_epoch,
        log_path=rest.log_path,
    )


def summaries(session: Session, run_ids: Sequence[str]) -> dict[str, dict[str, SummaryRow]]:
    """Summaries of the scalars of several runs, by run and name."""
    found: dict[str, dict[str, SummaryRow]] = {}
    for row in session.scalars(
        select(ScalarSummary)
        .where(ScalarSummary.run_id.in_(list(run_ids)))
        .order_by(ScalarSummary.name)
    ):
        found.setdefault(row.run_id, {})[row.name] = SummaryRow(
            row.name,
            row.count,
            row.last_step,
            row.last_value,
            row.min_step,
            row.min_value,
            row.max_step,
            row.max_value,
        )
    return found


def comparison(session: Session, filters: RunFilters = ALL_RUNS) -> list[ComparisonRow]:
    """Final runs (or ``filters.role``) with their results, at most 5,000, in study order."""
    where = conditions(session, filters if filters.role else replace(filters, role="final"))
    rows = session.execute(
        select_runs(*where)
        .add_columns(Study.protocol, Study.closed_at, Study.test_opened_at, Study.test_openings)
        .order_by(Study.number, Run.ordinal)
        .limit(MAX_COMPARED)
    ).all()
    chosen_on = selections(session, {row.study_id for row in rows})
    found = []
    for row in rows:
        is_open = row.closed_at is not None or row.test_opened_at is not None
        found.append(
            ComparisonRow(
                run_id=row.id,
                study_id=row.study_id,
                study_number=row.number,
                study_name=row.name,
                is_demo=row.is_demo,
                slug=f"S{row.number}-{row.ordinal}",
                task=row.task,
                backbone=row.backbone,
                regime=row.regime,
                method_kind=row.method_kind,
                method_label=row.method_label,
                config_hash=row.config_hash,
                data_seed=row.data_seed,
                init_seed=row.init_seed,
                role=row.role,
                state=RunState(row.state),
                protocol=row.protocol,
                is_test_open=is_open,
                test_openings=row.test_openings,
                num_trainable=row.num_trainable,
                result=shown_result(row.result, is_test_open=is_open),
                selection=chosen_on[row.study_id, row.role],
            )
        )
    return told_apart(session, found)


def playground_runs(session: Session, limit: int = 500) -> list[PlaygroundRun]:
    """Succeeded final runs with an adapter, newest first."""
    rows = session.execute(
        select_runs(Run.state == RunState.SUCCEEDED.value, Run.role == "final")
        .add_columns(Artifact.path)
        .join(Artifact, (Artifact.run_id == Run.id) & (Artifact.name == "adapter"))
        .order_by(Run.ended_at.desc(), Run.id.desc())
        .limit(limit)
    )
    found = []
    for row in rows:
        run = run_row(row)
        parts: Mapping[str, Any] = (row.result or {}).get("tasks") or {}
        found.append(
            PlaygroundRun(
                run_id=run.id,
                slug=run.slug,
                study_id=run.study_id,
                study_name=run.study_name,
                is_demo=run.is_demo,
                task=run.task,
                backbone=run.backbone,
                regime=run.regime,
                method_kind=run.method_kind,
                method_label=run.method_label,
                config_hash=run.config_hash,
                data_seed=run.data_seed,
                init_seed=run.init_seed,
                adapter=row.path,
                dev=run.dev,
                dev_of={name: part.get("dev") or {} for name, part in parts.items()}
                or {run.task: run.dev},
                flags_of={name: tuple(part.get("flags") or ()) for name, part in parts.items()},
                flags=run.flags,
                ended_at=run.ended_at,
                metric=run.metric,
            )
        )
    return found


def events(
    session: Session, *, run_ids: Sequence[str] = (), study_id: str = "", limit: int = 100
) -> list[EventRow]:
    """Newest events: of some runs, of a study and its runs, or of everything."""
    if run_ids:
        return run_events(session, RunEvent.run_id.in_(list(run_ids)), limit=limit)
    of_run = [Run.study_id == study_id] if study_id else []
    of_study = [StudyEvent.study_id == study_id] if study_id else []
    found = run_events(session, *of_run, limit=limit) + study_events(
        session, *of_study, limit=limit
    )
    return sorted(found, key=lambda event: event.at, reverse=True)[:limit]


def _queue_position(session: Session, row: RunRow) -> int:
    """Place in the order of claims, from 1."""
    same_moment = (Run.priority == row.priority) & (Run.created_at == row.created_at)
    before = (
        (Run.priority > row.priority)
        | ((Run.priority == row.priority) & (Run.created_at < row.created_at))
        | (same_moment & (Run.study_id < row.study_id))
        | (same_moment & (Run.study_id == row.study_id) & (Run.ordinal < row.ordinal))
    )
    counted = session.scalar(
        select(cast(func.count(), Integer)).where(Run.state == RunState.QUEUED.value, before)
    )
    return (counted or 0) + 1


def _checkpoints(session: Session, run_id: str) -> tuple[CheckpointRow, ...]:
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.state == "registered")
        .order_by(Checkpoint.step, Checkpoint.attempt)
    )
    return tuple(
        CheckpointRow(row.step, row.attempt, row.folder, row.num_bytes, row.is_best, row.created_at)
        for row in rows
    )
