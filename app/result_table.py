"""The results of a study as a table in a terminal or in plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from core import wording
from core.metrics import METRICS, TITLES
from core.states import RunState
from core.statistics.averages import averages
from core.statistics.export import CHOSEN_ON, caption, remarks
from core.statistics.intervals import Summary
from core.statistics.multi_task import gains
from core.statistics.parts import PRIMARY, Part, parts_of, trainable_of
from core.statistics.table import Cell, build_table, column_title, short_title
from core.store.views import ComparisonRow

ComparisonPart = Part[ComparisonRow]


def percent(value: object) -> str:
    """Write a share in percent with one decimal; a dash when there is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        return wording.percent(value)
    return "–"


def signed(value: float) -> str:
    """Write a difference of shares in points with its sign; a dash when there is none."""
    return wording.percent(value, with_sign=True)


def count(value: object) -> str:
    """Write a count with thousands separated; a dash when there is none."""
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{value:,.0f}"
    return "–"


def split_shown(rows: Sequence[ComparisonRow]) -> str:
    """Name the split to report: test once it is open, dev before."""
    return "test" if rows and all(row.is_test_open for row in rows) else "dev"


def chosen_on(parts: Sequence[ComparisonPart]) -> str:
    """Say what checkpoints were chosen on where it was not dev alone; nothing when it was."""
    said = {part.run.selection: CHOSEN_ON[part.run.selection] for part in parts}
    if set(said) <= {"dev"}:
        return ""
    return f" ({'; '.join(said.values())})"


def grid_columns(parts: Sequence[ComparisonPart]) -> list[str]:
    """Fields of the grid that differ between the runs and so must be shown."""
    fields = ("backbone", "regime", "selection", "data_seed", "init_seed")
    several_tasks = len({part.task for part in parts}) > 1
    return [
        *(["task"] if several_tasks else []),
        *(name for name in fields if len({getattr(part.run, name) for part in parts}) > 1),
    ]


def results_table(rows: Sequence[ComparisonRow], reasons: Mapping[str, str]) -> Table:
    """Build the table of single runs; a joint run has a line for each of its tasks.

    Args:
        rows: Final runs of one study.
        reasons: Why a run has no result, by run id.
    """
    split = split_shown(rows)
    parts = parts_of(rows, extra=split == "test")
    found = {name for part in parts for name in part.result.get(split) or ()}
    metrics = [name for name in METRICS if name in found]
    grid = grid_columns(parts)
    title = f"Results on {split}, in percent{chosen_on(parts)}"
    table = Table(title=title, title_justify="left")
    table.add_column("run")
    table.add_column("method", overflow="fold")
    for name in grid:
        table.add_column(name.replace("_", " "), overflow="fold")
    for name in metrics:
        table.add_column(TITLES[name], justify="right")
    for name in ("majority", "updates", "trainable", "CPU s"):
        table.add_column(name, justify="right")
    table.add_column("remarks", overflow="fold")
    for part in parts:
        run, result = part.run, part.result
        flags = ", ".join(str(flag) for flag in result.get("flags", ()))
        cpu = run.result.get("cpu_seconds")
        table.add_row(
            run.slug,
            part.label,
            *(part.task if name == "task" else str(getattr(run, name)) for name in grid),
            *(percent((result.get(split) or {}).get(name)) for name in metrics),
            percent((result.get("majority") or {}).get(split)),
            count(result.get("updates")),
            count(trainable_of(run)),
            count(cpu) if cpu is None or cpu >= 10 else f"{cpu:.1f}",
            flags if run.state is RunState.SUCCEEDED else reasons.get(run.run_id, str(run.state)),
        )
    return table


def seeds_table(rows: Sequence[ComparisonRow]) -> Table | None:
    """Build the table of means over seeds; None when no config has two runs with a number."""
    split = split_shown(rows)
    summary = build_table(rows, metric=PRIMARY, split=split)
    if all(cell.summary.n < 2 for row in summary.rows for cell in row.cells.values()):
        return None
    table = Table(title=caption(summary), title_justify="left")
    table.add_column("method", overflow="fold")
    for column in summary.columns:
        heading = column_title(column, summary.columns)
        table.add_column(heading, justify="right", overflow="fold")
    for row in summary.rows:
        table.add_row(row.label, *(_mean(row.cells.get(column)) for column in summary.columns))
    majority = [percent(summary.majority[column]) for column in summary.columns]
    table.add_row("majority class", *majority)
    return table


def gains_table(rows: Sequence[ComparisonRow]) -> Table | None:
    """Build the table of joint training against its control; None without joint runs."""
    split = split_shown(rows)
    found = gains(rows, metric=PRIMARY, split=split)
    if not found:
        return None
    title = f"Joint training minus single-task control on {split}, in points, paired by seed"
    table = Table(title=title, title_justify="left")
    for name in ("method", "task"):
        table.add_column(name, overflow="fold")
    for name in ("joint", "control", "difference", "95 % interval", "pairs"):
        table.add_column(name, justify="right")
    columns = [gain.column for gain in found]
    for gain in found:
        difference, interval = gain.pair.difference, gain.pair.interval
        span = f"{signed(interval.low)} … {signed(interval.high)}"
        table.add_row(
            gain.label,
            short_title(gain.column, columns),
            percent(gain.joint.mean),
            percent(gain.control.mean),
            signed(difference.mean),
            span if math.isfinite(interval.low) else "–",
            str(difference.n),
        )
    return table


def average_lines(rows: Sequence[ComparisonRow]) -> list[str]:
    """Say the averages over tasks, or why there are none, a line each."""
    split = split_shown(rows)
    has_several = len({row.backbone for row in rows}) > 1
    lines = []
    for average in averages(rows, split):
        value = _summary(average.summary) if average.summary.n else "no number"
        because = f": {average.reason}" if average.reason else ""
        backbone, regime, *_ = average.setting
        where = ", ".join([average.label, *([backbone] if has_several else []), regime])
        lines.append(f"{average.kind.title} on {split}, {where}: {value}{because}.")
    return lines


def _mean(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    said = remarks(cell)
    if not cell.summary.n:
        return f"– ({', '.join(said)})" if said else "–"
    return _summary(cell.summary, "".join(f", {remark}" for remark in said))


def _summary(summary: Summary, more: str = "") -> str:
    spread = f" ± {percent(summary.std)}" if summary.n > 1 else ""
    return f"{percent(summary.mean)}{spread} ({summary.n}{more})"
