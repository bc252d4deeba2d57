"""The comparison of methods as pages, exports and charts need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from sqlalchemy.orm import Session

from core.metrics import METRICS, TITLES
from core.metrics.flags import FLAGS
from core.plots import DRAW, accuracy_parameters, comparison_bars, learning_curve
from core.states import RunState
from core.statistics.export import caption
from core.statistics.paired import PairedDifference, holm, paired_difference, what_n_can_show
from core.statistics.table import Cell, Column, Row, Table, build_table, column_title
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
        metric: Name in ``core.metrics``.
        split: ``dev`` or ``test``; test only when every study's test is open.
        baseline: Row that the others are compared with.
    """

    studies: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    metric: str = ""
    split: str = ""
    baseline: str = ""


@dataclass(frozen=True)
class Comparison:
    """A question with its answer.

    Attributes:
        all_studies: Studies to choose from: the newest first, older chosen ones after them.
        studies: Chosen ones.
        tasks: Tasks of the chosen studies.
        metrics: Metrics that their results hold.
        table: Methods × columns.
        baseline: Label of the row that the others are compared with, empty without rows.
    """

    all_studies: tuple[StudyRow, ...]
    studies: tuple[StudyRow, ...]
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    table: Table
    baseline: str


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
    tasks = tuple(dict.fromkeys(row.task for row in rows))
    kept = [row for row in rows if not question.tasks or row.task in question.tasks]
    metrics = _metrics(kept)
    metric = question.metric if question.metric in metrics else metrics[0]
    table = build_table(kept, metric=metric, split=_split(question.split, chosen))
    labels = [row.label for row in table.rows]
    baseline = question.baseline if question.baseline in labels else _usual_baseline(labels)
    return Comparison(tuple(known), chosen, tasks, metrics, table, baseline)


def _chosen(
    session: Session, newest: Sequence[StudyRow], wanted: Sequence[str]
) -> tuple[StudyRow, ...]:
    if wanted:
        found = {study.id: study for study in (find_study(session, name) for name in wanted)}
        return tuple(study_rows(session, list(found.values())))
    with_results = [study for study in newest if study.states.get(RunState.SUCCEEDED)]
    own = [study for study in with_results if not study.is_demo]
    return tuple((own or with_results or list(newest))[:1])


def _metrics(rows: Sequence[ComparisonRow]) -> tuple[str, ...]:
    found = {name for row in rows for name in (row.result or {}).get("dev", {})}
    return tuple(name for name in METRICS if name in found) or ("accuracy",)


def _split(wanted: str, studies: Sequence[StudyRow]) -> str:
    is_open = bool(studies) and all(study.is_test_open for study in studies)
    return "test" if is_open and wanted != "dev" else "dev"


def _usual_baseline(labels: Sequence[str]) -> str:
    return "prompt_tuning" if "prompt_tuning" in labels else next(iter(labels), "")


def body(comparison: Comparison) -> dict[str, Any]:
    """Describe a comparison for the browser; rows of the store stay as they are."""
    table = comparison.table
    return {
        "all_studies": comparison.all_studies,
        "studies": comparison.studies,
        "tasks": comparison.tasks,
        "metrics": [{"name": name, "title": TITLES[name]} for name in comparison.metrics],
        "metric": table.metric,
        "split": table.split,
        "baseline": comparison.baseline,
        "caption": caption(table),
        "columns": [
            {
                **column._asdict(),
                "title": column_title(column, table.columns),
                "majority": table.majority[column],
                "examples": table.counts[column],
            }
            for column in table.columns
        ],
        "rows": [_row(row, table.columns) for row in table.rows],
        "differences": [_differences(comparison, column) for column in table.columns],
        "warnings": _warnings(comparison),
        "flags": FLAGS,
    }


def _row(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "label": row.label,
        "method_label": row.method_label,
        "kind": row.kind,
        "num_trainable": row.num_trainable,
        "average": row.average,
        "average_rank": row.average_rank,
        "cells": [_cell(row.cells.get(column)) for column in columns],
    }


def _cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        **cell.summary._asdict(),
        "rank": cell.rank,
        "failures": cell.failures,
        "ended": cell.ended,
        "waiting": cell.waiting,
        "flags": cell.flags,
        "runs": [
            {"seed": _seed(seed), "run_id": run_id, "value": cell.values.get(seed)}
            for seed, run_id in cell.runs.items()
        ],
    }


def _seed(seed: tuple[int, int]) -> str:
    return f"data {seed[0]}, init {seed[1]}"


def _differences(comparison: Comparison, column: Column) -> dict[str, Any]:
    """Compare every row with the baseline in one column; p corrected by Holm within it."""
    rows = {row.label: row.cells[column] for row in comparison.table.rows if column in row.cells}
    base = rows.pop(comparison.baseline, None)
    found: dict[str, PairedDifference] = {}
    if base is not None:
        found = {label: paired_difference(cell.values, base.values) for label, cell in rows.items()}
    found = {label: pair for label, pair in found.items() if pair.difference.n}
    corrected = holm([pair.p for pair in found.values()])
    sizes = sorted({pair.difference.n for pair in found.values()}, reverse=True)
    return {
        "sentence": " ".join(what_n_can_show(n) for n in sizes),
        "rows": [
            {
                "label": label,
                **pair.difference._asdict(),
                **pair.interval._asdict(),
                "p": pair.p,
                "p_holm": p,
            }
            for (label, pair), p in zip(found.items(), corrected, strict=True)
        ],
    }


def _warnings(comparison: Comparison) -> list[str]:
    """Say what a reader must know before naming a winner."""
    table = comparison.table
    cells = [cell for row in table.rows for cell in row.cells.values()]
    found = []
    if any(cell.summary.n == 1 for cell in cells):
        found.append("Some cells hold a single seed: no winner can be named from them.")
    if len({cell.summary.n for cell in cells if cell.summary.n}) > 1:
        found.append("The cells have different numbers of seeds.")
    if any(cell.waiting for cell in cells):
        waiting = sum(cell.waiting for cell in cells)
        found.append(f"{waiting} runs have not ended; their cells will change.")
    if any(column.is_paper_practice for column in table.columns):
        found.append(
            "Paper practice: checkpoints are chosen on the reported split itself, so these numbers "
            "are too good to be set beside numbers of runs that chose on dev."
        )
    protocols = {study.protocol for study in comparison.studies}
    if protocols == {"fixed"}:
        found.append("Settings are as written (protocol fixed), not tuned with equal effort.")
    if len(protocols) > 1:
        found.append("Tuned and fixed studies stand side by side.")
    if any("[settings" in row.label for row in table.rows):
        found.append("Equal methods with different settings stand in rows of their own.")
    return found


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
            column_title(column, table.columns),
            value,
            _seed(seed),
            table.majority[column],
        )
        for row in table.rows
        for column, cell in row.cells.items()
        for seed, value in cell.values.items()
    ]


def _point_rows(table: Table, number: int) -> list[accuracy_parameters.Row]:
    return [
        accuracy_parameters.Row(
            row.label, column_title(column, table.columns), value, row.num_trainable
        )
        for row in table.rows
        for column in table.columns[number : number + 1]
        if column in row.cells
        for value in row.cells[column].values.values()
    ]


def _learning_curves(session: Session, table: Table, column: int) -> go.Figure:
    name = f"dev/{table.metric}"
    title = f"dev {TITLES[table.metric]}"
    if not 0 <= column < len(table.columns):
        return DRAW["learning_curve"](learning_curve.prepare([], y_title=title))
    chosen = table.columns[column]
    labels = {
        run_id: row.label
        for row in table.rows
        if chosen in row.cells
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
    majority = table.majority[chosen] if table.metric == "accuracy" else math.nan
    return learning_curve.draw(learning_curve.prepare(rows, y_title=title, majority=majority))
