"""The results of a study as a table in a terminal or in plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from core.states import RunState
from core.statistics.table import PAPER_PRACTICE, build_table, trainable_of
from core.store.views import ComparisonRow

METRIC_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "matthews": "Matthews"}


def percent(value: object) -> str:
    """Write a share in percent with one decimal; a dash when there is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{100 * value:.1f}"
    return "–"


def count(value: object) -> str:
    """Write a count with thousands separated; a dash when there is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{value:,.0f}"
    return "–"


def split_shown(rows: Sequence[ComparisonRow]) -> str:
    """Name the split to report: test once it is open, dev before."""
    return "test" if rows and all(row.is_test_open for row in rows) else "dev"


def metrics_of(rows: Sequence[ComparisonRow], split: str) -> list[str]:
    """Names of the metrics that the runs have on a split, in their order."""
    found = [name for row in rows for name in (row.result.get(split) or {})]
    return list(dict.fromkeys(found))


def grid_columns(rows: Sequence[ComparisonRow]) -> list[str]:
    """Fields of the grid that differ between the runs and so must be shown."""
    fields = ("task", "backbone", "regime", "selection", "data_seed", "init_seed")
    return [name for name in fields if len({getattr(row, name) for row in rows}) > 1]


def practice(rows: Sequence[ComparisonRow]) -> str:
    """Say that checkpoints were chosen on the reported split; nothing when they were not."""
    if any(row.selection == PAPER_PRACTICE for row in rows):
        return " (paper practice: checkpoints are chosen on the reported split itself)"
    return ""


def results_table(rows: Sequence[ComparisonRow], reasons: Mapping[str, str]) -> Table:
    """Build the table of single runs.

    Args:
        rows: Final runs of one study.
        reasons: Why a run has no result, by run id.
    """
    split = split_shown(rows)
    metrics, grid = metrics_of(rows, split), grid_columns(rows)
    title = f"Results on {split}, in percent{practice(rows)}"
    table = Table(title=title, title_justify="left")
    table.add_column("run")
    table.add_column("method", overflow="fold")
    for name in grid:
        table.add_column(name.replace("_", " "), overflow="fold")
    for name in metrics:
        table.add_column(METRIC_NAMES.get(name, name), justify="right")
    for name in ("majority", "updates", "trainable", "CPU s"):
        table.add_column(name, justify="right")
    table.add_column("remarks", overflow="fold")
    for row in rows:
        result = row.result
        flags = ", ".join(str(flag) for flag in result.get("flags", ()))
        cpu = result.get("cpu_seconds")
        table.add_row(
            row.slug,
            row.method_label,
            *(str(getattr(row, name)) for name in grid),
            *(percent((result.get(split) or {}).get(name)) for name in metrics),
            percent((result.get("majority") or {}).get(split)),
            count(result.get("updates")),
            count(trainable_of(row)),
            count(cpu) if cpu is None or cpu >= 10 else f"{cpu:.1f}",
            flags if row.state is RunState.SUCCEEDED else reasons.get(row.run_id, str(row.state)),
        )
    return table


def seeds_table(rows: Sequence[ComparisonRow]) -> Table | None:
    """Build the table of means over seeds; None when no config has two runs with a number."""
    split = split_shown(rows)
    metric = next(iter(metrics_of(rows, split)), "accuracy")
    summary = build_table(rows, metric=metric, split=split)
    if all(cell.summary.n < 2 for row in summary.rows for cell in row.cells.values()):
        return None
    name = METRIC_NAMES.get(metric, metric)
    title = f"{name} on {split}: mean ± std over seeds (n){practice(rows)}"
    table = Table(title=title, title_justify="left")
    table.add_column("method", overflow="fold")
    for column in summary.columns:
        heading = " · ".join((column.task, column.backbone, column.regime))
        table.add_column(heading, justify="right", overflow="fold")
    for row in summary.rows:
        cells = []
        for column in summary.columns:
            cell = row.cells.get(column)
            if cell is None or not cell.summary.n:
                cells.append("–")
                continue
            spread = f" ± {percent(cell.summary.std)}" if cell.summary.n > 1 else ""
            failed = f", {cell.failures} failed or flagged" if cell.failures else ""
            cells.append(f"{percent(cell.summary.mean)}{spread} ({cell.summary.n}{failed})")
        table.add_row(row.label, *cells)
    majority = [percent(summary.majority[column]) for column in summary.columns]
    table.add_row("majority class", *majority)
    return table
