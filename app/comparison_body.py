"""A comparison as the browser gets it: table, differences, averages, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.comparison import Comparison, seed_title
from core.metrics import TITLES
from core.metrics.flags import FLAGS
from core.statistics.averages import KINDS, Average
from core.statistics.export import caption, remarks
from core.statistics.multi_task import Gain
from core.statistics.paired import PairedDifference, holm, paired_difference, what_n_can_show
from core.statistics.parts import JOINT_SIGN, measure_title
from core.statistics.table import SELECTION_TITLES, Cell, Column, Row, column_title


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
                "is_extra": column.is_extra,
                "is_joint": JOINT_SIGN in column.trained_on,
                "measure": measure_title(table.measured[column]),
                "selection_title": SELECTION_TITLES[column.selection],
                "majority": table.majority[column],
                "examples": table.counts[column],
            }
            for column in table.columns
        ],
        "rows": [_row(row, table.columns) for row in table.rows],
        "differences": [_differences(comparison, column) for column in table.columns],
        "averages": _averages(comparison.averages),
        "gains": [_gain(gain, comparison) for gain in comparison.gains],
        "extra_sets": comparison.extra_sets,
        "has_extra": comparison.has_extra,
        "warnings": _warnings(comparison),
        "flags": FLAGS,
    }


def _averages(found: Sequence[Average]) -> list[dict[str, Any]]:
    """Describe each kind of average with its methods; a kind without any task is left out."""
    described = []
    for kind in KINDS:
        own = [average for average in found if average.kind == kind]
        if own:
            rows = [_average(average, own) for average in own]
            described.append({"title": kind.title, "note": kind.note, "rows": rows})
    return described


def _average(average: Average, of_kind: Sequence[Average]) -> dict[str, Any]:
    backbone, regime, selection, partners = average.setting
    settings = {other.setting for other in of_kind}
    parts = [regime]
    parts += [backbone] if len({setting[0] for setting in settings}) > 1 else []
    parts += [partners] if partners else []
    parts += [SELECTION_TITLES[selection]] if selection != "dev" else []
    return {
        "label": average.label,
        "method_label": average.method_label,
        "setting": ", ".join(parts),
        **average.summary._asdict(),
        "reason": average.reason,
    }


def _gain(gain: Gain, comparison: Comparison) -> dict[str, Any]:
    slugs = {study.id: study.slug for study in comparison.studies}
    return {
        "label": gain.label,
        "method_label": gain.method_label,
        "task": gain.column.task,
        "study": slugs.get(gain.study_id, ""),
        "title": column_title(gain.column, comparison.table.columns),
        "joint": gain.joint._asdict(),
        "control": gain.control._asdict(),
        **gain.pair.difference._asdict(),
        **gain.pair.interval._asdict(),
        "p": gain.pair.p,
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
        "remarks": remarks(cell),
        "failed": cell.failed,
        "flagged": cell.flagged,
        "ended": cell.ended,
        "waiting": cell.waiting,
        "flags": cell.flags,
        "runs": [
            {"seed": seed_title(seed), "run_id": run_id, "value": cell.values.get(seed)}
            for seed, run_id in cell.runs.items()
        ],
    }


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
    if waiting := comparison.num_waiting:
        they = "runs have" if waiting > 1 else "run has"
        found.append(f"{waiting} {they} not ended; the table will change.")
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
    if any(row.label != row.method_label for row in table.rows):
        found.append(
            "Equal methods with different settings stand in rows of their own; brackets say what "
            "differs."
        )
    return found
