"""The comparison of methods as exports and charts need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from sqlalchemy.orm import Session

from core.metrics import METRICS, TITLES
from core.plots import accuracy_parameters, comparison_bars, learning_curve
from core.states import RunState, is_ended
from core.statistics.averages import Average, averages
from core.statistics.multi_task import Gain, gains
from core.statistics.parts import JOINT_SIGN, OFFICIAL, PRIMARY, Part, parts_of
from core.statistics.table import Seed, Table, build_table, column_title, short_title
from core.store import queries, scalars
from core.store.query_rows import find_study, study_rows
from core.store.views import ComparisonRow, RunFilters, StudyRow

MAX_STUDIES = 200
MAX_CURVES = 300
CHARTS = ("comparison_bars", "learning_curve", "accuracy_parameters")


@dataclass(frozen=True)
class Question:
    """What is compared, as the URL of the page says it; empty fields are chosen here.

    Attributes:
        studies: Ids or short names of studies.
        tasks: Names of tasks.
        metric: Name in ``core.metrics``, ``primary`` or ``official``.
        split: ``dev`` or ``test``; test only when every study's test is open.
        baseline: Row that the others are compared with.
        extra: Also show the sets that were only scored at the end (AX-b, AX-g).
    """

    studies: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    metric: str = ""
    split: str = ""
    baseline: str = ""
    extra: bool = False


@dataclass(frozen=True)
class Comparison:
    """A question with its answer.

    Attributes:
        all_studies: Studies to choose from: the newest first, older chosen ones after them.
        studies: Chosen ones.
        tasks: Tasks of the chosen studies.
        metrics: What may be shown: metrics that their results hold, ``primary`` and ``official``
            where these are something else.
        table: Methods × columns.
        baseline: Label of the row that the others are compared with, empty without rows.
        averages: Averages over tasks, of all tasks whatever the table shows.
        gains: Joint training against its control, task by task.
        num_waiting: Runs that have not ended, a count.
        extra_sets: Sets that were only scored and may be shown.
        has_extra: The table shows them.
    """

    all_studies: tuple[StudyRow, ...]
    studies: tuple[StudyRow, ...]
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    table: Table
    baseline: str
    averages: tuple[Average, ...] = ()
    gains: tuple[Gain, ...] = ()
    num_waiting: int = 0
    extra_sets: tuple[str, ...] = ()
    has_extra: bool = False


def compare(session: Session, question: Question) -> Comparison:
    """Answer a question.

    Raises:
        NotFound: If a study of the question does not exist.
    """
    newest = queries.studies(session, limit=MAX_STUDIES)
    chosen = _chosen(session, newest, question.studies)
    known = list({study.id: study for study in (*newest, *chosen)}.values())
    rows: list[ComparisonRow] = []
    if chosen:
        ids = tuple(study.id for study in chosen)
        rows = queries.comparison(session, RunFilters(study_ids=ids))
    parts = parts_of(rows, extra=True)
    shown = [p for p in parts if not question.tasks or p.task in question.tasks or p.is_extra]
    metrics = _metrics(shown)
    metric = question.metric if question.metric in metrics else metrics[0]
    split = _split(question.split, chosen)
    extra_sets = tuple(dict.fromkeys(p.task for p in parts if p.is_extra and split == "test"))
    has_extra = question.extra and bool(extra_sets)
    tasks = question.tasks
    table = build_table(rows, metric=metric, split=split, tasks=tasks, extra=has_extra)
    labels = [row.label for row in table.rows]
    return Comparison(
        all_studies=tuple(known),
        studies=chosen,
        tasks=tuple(dict.fromkeys(part.task for part in parts if not part.is_extra)),
        metrics=metrics,
        table=table,
        baseline=question.baseline if question.baseline in labels else _usual_baseline(labels),
        averages=tuple(averages(rows, split)),
        gains=tuple(gains(rows, metric=metric, split=split, tasks=tasks)),
        num_waiting=len({p.run.run_id for p in shown if not is_ended(p.run.state)}),
        extra_sets=extra_sets,
        has_extra=has_extra,
    )


def _chosen(
    session: Session, newest: Sequence[StudyRow], wanted: Sequence[str]
) -> tuple[StudyRow, ...]:
    if wanted:
        found = {study.id: study for study in (find_study(session, name) for name in wanted)}
        return tuple(study_rows(session, list(found.values())))
    with_results = [study for study in newest if study.states.get(RunState.SUCCEEDED)]
    own = [study for study in with_results if not study.is_demo]
    return tuple((own or with_results or list(newest))[:1])


def _metrics(parts: Sequence[Part[ComparisonRow]]) -> tuple[str, ...]:
    """What a table of these parts may show, the usual first."""
    trained = [part for part in parts if not part.is_extra and part.metrics]
    first = {part.metrics[0] for part in trained}
    found = {name for part in trained for name in part.metrics}
    names = [name for name in METRICS if name in found]
    if len(first) > 1:
        names.insert(0, PRIMARY)
    elif first:
        names.sort(key=lambda name: name not in first)
    if any(part.measured(OFFICIAL) != part.measured(PRIMARY) for part in trained):
        names.append(OFFICIAL)
    return tuple(names) or ("accuracy",)


def _split(wanted: str, studies: Sequence[StudyRow]) -> str:
    is_open = bool(studies) and all(study.is_test_open for study in studies)
    return "test" if is_open and wanted != "dev" else "dev"


def _usual_baseline(labels: Sequence[str]) -> str:
    return "prompt_tuning" if "prompt_tuning" in labels else next(iter(labels), "")


def chart(session: Session, comparison: Comparison, name: str, column: int = 0) -> go.Figure:
    """Draw one of ``CHARTS``.

    Args:
        session: Open session; learning curves are read from it.
        comparison: What is drawn.
        name: Name in ``core.plots``.
        column: Column, from 0, for charts that show one; the bars show all.
    """
    table = comparison.table
    y_title = f"{table.split} {TITLES[table.metric]}"
    if name == "learning_curve":
        return _learning_curves(session, table, column)
    if name == "comparison_bars":
        bars = comparison_bars.prepare(_bar_rows(table), y_title=y_title)
        return comparison_bars.draw(bars)
    points = accuracy_parameters.prepare(_point_rows(table, column), y_title=y_title)
    return accuracy_parameters.draw(points)


def _bar_rows(table: Table) -> list[comparison_bars.Row]:
    return [
        comparison_bars.Row(
            row.label,
            short_title(column, table.columns),
            value,
            seed_title(seed),
            table.majority[column],
        )
        for row in table.rows
        for column, cell in row.cells.items()
        for seed, value in cell.values.items()
    ]


def _point_rows(table: Table, number: int) -> list[accuracy_parameters.Row]:
    return [
        accuracy_parameters.Row(
            row.label,
            column_title(column, table.columns),
            value,
            row.cells[column].trainable[seed],
        )
        for row in table.rows
        for column in table.columns[number : number + 1]
        if column in row.cells
        for seed, value in row.cells[column].values.items()
    ]


def _learning_curves(session: Session, table: Table, column: int) -> go.Figure:
    if not 0 <= column < len(table.columns):
        return learning_curve.draw(learning_curve.prepare([], y_title=f"dev {table.metric}"))
    chosen = table.columns[column]
    metric = next(iter(table.measured[chosen]), "accuracy")
    is_joint = JOINT_SIGN in chosen.trained_on
    name = f"dev/{chosen.task}/{metric}" if is_joint else f"dev/{metric}"
    title = f"dev {TITLES[metric]}"
    labels = {
        run_id: row.label
        for row in table.rows
        if chosen in row.cells and not chosen.is_extra
        for run_id in row.cells[chosen].run_ids
    }
    cursors = dict.fromkeys(list(labels)[:MAX_CURVES], scalars.Cursor())
    pages = scalars.read_curves(session, cursors, [name])
    rows = [
        learning_curve.Row(
            label,
            pages[run_id].curves[name].steps,
            [math.nan if value is None else value for value in pages[run_id].curves[name].values],
        )
        for run_id, label in labels.items()
        if run_id in pages and name in pages[run_id].curves
    ]
    majority = table.majority[chosen] if metric == "accuracy" else math.nan
    return learning_curve.draw(learning_curve.prepare(rows, y_title=title, majority=majority))


def seed_title(seed: Seed) -> str:
    """Name a pair of seeds."""
    return f"data {seed[0]}, init {seed[1]}"
