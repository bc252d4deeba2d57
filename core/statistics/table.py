"""Runs to the table that a paper prints: methods × tasks × regimes, mean ± std (n)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from core.states import RunState
from core.statistics.intervals import Summary, mean_std
from core.statistics.parts import (
    JOINT_SIGN,
    Part,
    RunRow,
    parts_of,
    trainable_of,
)

FAILURE_FLAGS = frozenset({"collapsed", "unfitted", "at chance"})
PAPER_PRACTICE = "paper_practice"
SELECTION_TITLES = {
    "dev": "chosen on dev",
    PAPER_PRACTICE: "paper practice",
    "fold": "one fold as dev",
    "refit": "refit on all of train",
}
"""What checkpoints were chosen on, in a few words."""

PROBE = "linear_probe"
LEAST_SEEDS_TO_RANK = 2
Seed = tuple[int, int]


class Column(NamedTuple):
    """One question: a task on a backbone in a regime.

    Runs whose checkpoints were chosen in different ways stand in columns of their own: they had
    different training splits.

    Attributes:
        task: Name of the task, or of a set that is only scored.
        backbone: Name of the backbone.
        regime: Label of the regime.
        selection: What checkpoints were chosen on.
        trained_on: Tasks that the runs were trained on, ``cb+rte`` when joint; empty: the task.
    """

    task: str
    backbone: str
    regime: str
    selection: str = "dev"
    trained_on: str = ""

    @property
    def is_paper_practice(self) -> bool:
        """Tell whether checkpoints were chosen on the reported split itself."""
        return self.selection == PAPER_PRACTICE

    @property
    def is_extra(self) -> bool:
        """Tell whether nothing was trained or chosen on the task."""
        return bool(self.trained_on) and self.task not in self.trained_on.split(JOINT_SIGN)

    @property
    def setting(self) -> tuple[str, str, str, str]:
        """What columns of one average share: backbone, regime, selection, and partners if any."""
        partners = self.trained_on if JOINT_SIGN in self.trained_on else ""
        return self.backbone, self.regime, self.selection, partners


class Cell(NamedTuple):
    """All runs of one method in one column.

    Attributes:
        summary: Mean ± std (n) of the metric over seeds.
        values: Metric of each (data seed, init seed).
        runs: Run of each seed, succeeded or not.
        trainable: Trainable parameters of each seed's run, NaN when unknown.
        failed: Runs that ended with an error, a count.
        flagged: Runs that succeeded and carry a flag of ``FAILURE_FLAGS``, a count.
        ended: Runs that ended, cancelled ones not counted.
        waiting: Runs that have not ended, a count.
        flags: How often each flag occurs.
        rank: 1 for the best mean of the column's cells with at least two seeds, 2 for the second,
            else 0.
        is_below_probe: True when the mean lies under that of the column's linear probe, so that
            what was trained before the head took something away.
    """

    summary: Summary
    values: Mapping[Seed, float]
    runs: Mapping[Seed, str]
    trainable: Mapping[Seed, float]
    failed: int
    flagged: int
    ended: int
    waiting: int
    flags: Mapping[str, int]
    rank: int = 0
    is_below_probe: bool = False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All runs of the cell."""
        return tuple(self.runs.values())


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        label: Method's label, and what sets it apart where equal ones stand for other settings.
        method_label: Label alone; it fixes the colour.
        kind: Method's kind.
        num_trainable: Different counts of trainable parameters that its runs have, ascending.
        cells: Cell of each column that the method has runs in.
        average: Mean of the cells' means when the row has every column, all columns have one
            regime and show one metric, and the row's cells have one number of seeds, else NaN.
        average_rank: 1 or 2 for the two best averages, else 0.
    """

    label: str
    method_label: str
    kind: str
    num_trainable: tuple[int, ...]
    cells: Mapping[Column, Cell]
    average: float = math.nan
    average_rank: int = 0


class Table(NamedTuple):
    """Methods × columns.

    Attributes:
        metric: Name of the metric, ``primary`` or ``official``.
        split: ``dev`` or ``test``.
        columns: Together by task, else in the order in which they occur.
        rows: In the order in which the methods occur.
        majority: What guessing gives on each column's split, NaN when unknown or when the column
            shows something else than accuracy.
        counts: Examples of that split, 0 when unknown.
        measured: Metrics whose mean each column shows; empty when nothing is known.
    """

    metric: str
    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    majority: Mapping[Column, float]
    counts: Mapping[Column, int]
    measured: Mapping[Column, tuple[str, ...]]


def build_table(
    runs: Iterable[RunRow],
    *,
    metric: str = "accuracy",
    split: str = "dev",
    tasks: Collection[str] = (),
    extra: bool = False,
) -> Table:
    """Group runs to cells; trials are left out, repeated seeds of one config count once.

    A joint run has a cell for each of its tasks.

    Args:
        runs: Runs of one or more studies, the order gives the order of rows and columns.
        metric: Name in ``core.metrics``, ``primary`` or ``official``: see ``Part.measured``.
        split: ``dev`` or ``test``: the part of the results that is read.
        tasks: Only the columns of these, and of sets scored by their runs; empty: all.
        extra: Also give columns to sets that are only scored; they have no numbers on dev.
    """
    parts = parts_of((run for run in runs if run.role == "final"), tasks=tasks, extra=extra)
    groups: dict[str, dict[Column, list[Part[RunRow]]]] = {}
    by_column: dict[Column, list[Part[RunRow]]] = {column: [] for column in _columns(parts)}
    methods: dict[str, tuple[str, str]] = {}
    for label, part in _with_row_labels(parts):
        column = column_of(part)
        by_column[column].append(part)
        groups.setdefault(label, {}).setdefault(column, []).append(part)
        methods[label] = (part.run.method_label, part.run.method_kind)
    columns = tuple(by_column)
    rows = [
        Row(
            label,
            *methods[label],
            _counts_of_trainable([part.run for members in cells.values() for part in members]),
            {c: _cell(cells[c], metric, split) for c in columns if c in cells},
        )
        for label, cells in groups.items()
    ]
    measured = {column: _measured(by_column[column], metric) for column in columns}
    is_share = {column: names == ("accuracy",) for column, names in measured.items()}
    return Table(
        metric,
        split,
        columns,
        _with_averages(_beside_probe(_with_ranks(rows, columns)), measured),
        {c: _first(by_column[c], "majority", split) if is_share[c] else math.nan for c in columns},
        {c: int(_first(by_column[c], "counts", split, 0.0)) for c in columns},
        measured,
    )


def column_title(column: Column, columns: Sequence[Column]) -> str:
    """Name a column by task and regime, and by what else sets it apart."""
    return ", ".join([_task_title(column), column.regime, *_apart(column, columns)])


def short_title(column: Column, columns: Sequence[Column]) -> str:
    """Name a column by its task and only by what sets it apart, settings in brackets left out."""
    regimes = {c.regime for c in columns}
    names = {regime: regime.partition(" (")[0] for regime in regimes}
    is_clear = len(set(names.values())) == len(regimes)
    regime = [names[column.regime] if is_clear else column.regime] if len(regimes) > 1 else []
    return ", ".join([column.task, *regime, *_apart(column, columns)])


def _task_title(column: Column) -> str:
    return f"{column.task} (trained on {column.trained_on})" if column.is_extra else column.task


def _apart(column: Column, columns: Sequence[Column]) -> list[str]:
    parts = [column.backbone] if len({c.backbone for c in columns}) > 1 else []
    joint = {c.trained_on for c in columns if c[:4] == column[:4]}
    parts += [column.trained_on] if len(joint) > 1 and not column.is_extra else []
    return parts + ([SELECTION_TITLES[column.selection]] if column.selection != "dev" else [])


def column_of(part: Part[RunRow]) -> Column:
    """Return the column that a run's part in a task stands in."""
    run = part.run
    is_alone = run.task == part.task
    return Column(part.task, run.backbone, run.regime, run.selection, "" if is_alone else run.task)


def _columns(parts: Sequence[Part[RunRow]]) -> list[Column]:
    """Columns of one task stand together, sets that are only scored behind all tasks."""
    columns = list(dict.fromkeys(column_of(part) for part in parts))
    places = {task: place for place, task in enumerate(dict.fromkeys(c.task for c in columns))}
    return sorted(columns, key=lambda column: (column.is_extra, places[column.task]))


def _measured(parts: Sequence[Part[RunRow]], metric: str) -> tuple[str, ...]:
    return next((names for part in parts if (names := part.measured(metric))), ())


def _first(parts: Sequence[Part[RunRow]], key: str, split: str, none: float = math.nan) -> float:
    values = (part.about(key, split) for part in parts)
    return next((value for value in values if math.isfinite(value)), none)


def _with_row_labels(parts: Sequence[Part[RunRow]]) -> list[tuple[str, Part[RunRow]]]:
    """Give configs with equal labels in one column rows of their own: they are not averaged."""
    seen: dict[tuple[str, Column], list[str]] = {}
    labelled = []
    for part in parts:
        hashes = seen.setdefault((part.label, column_of(part)), [])
        if part.run.config_hash not in hashes:
            hashes.append(part.run.config_hash)
        number = hashes.index(part.run.config_hash) + 1
        labelled.append((part.label if number == 1 else f"{part.label} [settings {number}]", part))
    return labelled


def _cell(members: Sequence[Part[RunRow]], metric: str, split: str) -> Cell:
    by_seed: dict[Seed, Part[RunRow]] = {}
    for part in members:
        seed = (part.run.data_seed, part.run.init_seed)
        before = by_seed.get(seed)
        if before is None or before.run.state != RunState.SUCCEEDED:
            by_seed[seed] = part
    all_values = {seed: part.value(metric, split) for seed, part in by_seed.items()}
    values = {seed: value for seed, value in all_values.items() if math.isfinite(value)}
    states = [part.run.state for part in by_seed.values()]
    ended = [p for p in by_seed.values() if p.run.state in (RunState.SUCCEEDED, RunState.FAILED)]
    flags = [set(part.result.get("flags") or ()) for part in ended]
    failed = states.count(RunState.FAILED)
    flagged = sum(
        part.run.state == RunState.SUCCEEDED and bool(found & FAILURE_FLAGS)
        for part, found in zip(ended, flags, strict=True)
    )
    waiting = len(states) - len(ended) - sum(state == RunState.CANCELLED for state in states)
    return Cell(
        mean_std(values.values()),
        values,
        {seed: part.run.run_id for seed, part in by_seed.items()},
        {seed: trainable_of(part.run) for seed, part in by_seed.items()},
        failed,
        flagged,
        len(ended),
        waiting,
        Counter(name for found in flags for name in sorted(found)),
    )


def _ranks(means: Sequence[float]) -> list[int]:
    """Rank the two best values; equal values share a rank and one value alone has none."""
    finite = sorted({round(mean, 10) for mean in means if math.isfinite(mean)}, reverse=True)
    if sum(math.isfinite(mean) for mean in means) < 2:
        return [0] * len(means)
    places = {value: place for place, value in enumerate(finite[:2], start=1)}
    return [places.get(round(mean, 10), 0) if math.isfinite(mean) else 0 for mean in means]


def _with_ranks(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    cells = [dict(row.cells) for row in rows]
    for column in columns:
        present = [own for own in cells if column in own]
        # A single seed is no mean, so it is neither best nor second.
        summaries = [own[column].summary for own in present]
        ranks = _ranks(
            [one.mean if one.n >= LEAST_SEEDS_TO_RANK else math.nan for one in summaries]
        )
        for own, rank in zip(present, ranks, strict=True):
            own[column] = own[column]._replace(rank=rank)
    return [row._replace(cells=own) for row, own in zip(rows, cells, strict=True)]


def _beside_probe(rows: Sequence[Row]) -> list[Row]:
    """Mark the cells that lie under the best linear probe of their column."""
    probed: dict[Column, float] = {}
    for row in rows:
        for column, cell in row.cells.items():
            if row.kind == PROBE and cell.summary.n:
                probed[column] = max(cell.summary.mean, probed.get(column, -math.inf))

    def marked(row: Row, column: Column, cell: Cell) -> Cell:
        is_below = row.kind != PROBE and cell.summary.mean < probed.get(column, -math.inf)
        return cell._replace(is_below_probe=is_below)

    return [
        row._replace(cells={at: marked(row, at, cell) for at, cell in row.cells.items()})
        for row in rows
    ]


def _with_averages(
    rows: Sequence[Row], measured: Mapping[Column, tuple[str, ...]]
) -> tuple[Row, ...]:
    averages = [_average(row, measured) for row in rows]
    sure = [min((cell.summary.n for cell in row.cells.values()), default=0) for row in rows]
    ranked = [
        average if n >= LEAST_SEEDS_TO_RANK else math.nan
        for average, n in zip(averages, sure, strict=True)
    ]
    return tuple(
        row._replace(average=average, average_rank=rank)
        for row, average, rank in zip(rows, averages, _ranks(ranked), strict=True)
    )


def _average(row: Row, measured: Mapping[Column, tuple[str, ...]]) -> float:
    """Average the means of equal questions on different tasks; NaN where that would mislead."""
    trained = [column for column in measured if not column.is_extra]
    if len({measured[column] for column in trained if measured[column]}) > 1:
        return math.nan
    own = [row.cells[column] for column in trained if column in row.cells]
    sizes = {cell.summary.n for cell in own}
    settings = {column.setting for column in trained}
    if len(trained) < 2 or len(own) < len(trained) or len(settings) > 1 or len(sizes) > 1:
        return math.nan
    return sum(cell.summary.mean for cell in own) / len(own)


def _counts_of_trainable(runs: Sequence[RunRow]) -> tuple[int, ...]:
    counts = {trainable_of(run) for run in runs}
    return tuple(sorted(int(count) for count in counts if math.isfinite(count)))
