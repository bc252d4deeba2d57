"""Runs to the table that a paper prints: methods × tasks × regimes, mean ± std (n)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from core.states import RunState
from core.statistics.intervals import Summary, mean_std

FAILURE_FLAGS = frozenset({"collapsed", "unfitted", "at chance"})
PAPER_PRACTICE = "paper_practice"
LEAST_SEEDS_TO_RANK = 2
Seed = tuple[int, int]


class RunRow(Protocol):
    """What a table needs to know about a run."""

    @property
    def run_id(self) -> str:
        """Identifier."""

    @property
    def task(self) -> str:
        """Name of the task."""

    @property
    def backbone(self) -> str:
        """Name of the backbone."""

    @property
    def regime(self) -> str:
        """Label of the regime."""

    @property
    def method_label(self) -> str:
        """Label of the method."""

    @property
    def method_kind(self) -> str:
        """Kind of the method."""

    @property
    def config_hash(self) -> str:
        """Digest of everything but the seeds."""

    @property
    def data_seed(self) -> int:
        """Seed of the draw and order of examples."""

    @property
    def init_seed(self) -> int:
        """Seed of initial weights and noise."""

    @property
    def role(self) -> str:
        """``final`` or ``trial``."""

    @property
    def state(self) -> str:
        """State of the run."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """Numbers of a succeeded run."""

    @property
    def num_trainable(self) -> Mapping[str, int] | int | None:
        """Trainable parameters."""

    @property
    def selection(self) -> str:
        """What its checkpoint was chosen on, ``dev`` or ``paper_practice``."""


class Column(NamedTuple):
    """One question: a task on a backbone in a regime.

    Runs whose checkpoints were chosen on the reported split stand in columns of their own: they
    had another training split and saw what they are measured by.
    """

    task: str
    backbone: str
    regime: str
    selection: str = "dev"

    @property
    def is_paper_practice(self) -> bool:
        """Tell whether checkpoints were chosen on the reported split itself."""
        return self.selection == PAPER_PRACTICE


class Cell(NamedTuple):
    """All runs of one method in one column.

    Attributes:
        summary: Mean ± std (n) of the metric over seeds.
        values: Metric of each (data seed, init seed).
        runs: Run of each seed, succeeded or not.
        failures: Runs that failed or carry a flag of ``FAILURE_FLAGS``, a count.
        ended: Runs that ended, cancelled ones not counted.
        waiting: Runs that have not ended, a count.
        flags: How often each flag occurs.
        rank: 1 for the best mean of the column's cells with at least two seeds, 2 for the second,
            else 0.
    """

    summary: Summary
    values: Mapping[Seed, float]
    runs: Mapping[Seed, str]
    failures: int
    ended: int
    waiting: int
    flags: Mapping[str, int]
    rank: int = 0

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All runs of the cell."""
        return tuple(self.runs.values())


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        label: Method's label, with a number when equal labels stand for different settings.
        method_label: Label without that number; it fixes the colour.
        kind: Method's kind.
        num_trainable: Trainable parameters, the mean over the row's runs, NaN when unknown.
        cells: Cell of each column that the method has runs in.
        average: Mean of the cells' means when the row has every column and all columns have one
            regime and the row's cells one number of seeds, else NaN.
        average_rank: 1 or 2 for the two best averages, else 0.
    """

    label: str
    method_label: str
    kind: str
    num_trainable: float
    cells: Mapping[Column, Cell]
    average: float = math.nan
    average_rank: int = 0


class Table(NamedTuple):
    """Methods × columns.

    Attributes:
        metric: Name of the metric.
        split: ``dev`` or ``test``.
        columns: In the order in which they occur.
        rows: In the order in which the methods occur.
        majority: Share of the most frequent label of each column's split, NaN when unknown.
        counts: Examples of that split, 0 when unknown.
    """

    metric: str
    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    majority: Mapping[Column, float]
    counts: Mapping[Column, int]


def build_table(runs: Iterable[RunRow], *, metric: str = "accuracy", split: str = "dev") -> Table:
    """Group runs to cells; trials are left out, repeated seeds of one config count once.

    Args:
        runs: Runs of one or more studies, the order gives the order of rows and columns.
        metric: Name in ``core.metrics``.
        split: ``dev`` or ``test``: the part of the results that is read.
    """
    final = [run for run in runs if run.role == "final"]
    columns = tuple(dict.fromkeys(_column(run) for run in final))
    groups: dict[str, dict[Column, list[RunRow]]] = {}
    methods: dict[str, tuple[str, str]] = {}
    for label, run in _with_row_labels(final):
        groups.setdefault(label, {}).setdefault(_column(run), []).append(run)
        methods[label] = (run.method_label, run.method_kind)
    rows = [
        Row(
            label,
            *methods[label],
            _mean_trainable([run for members in cells.values() for run in members]),
            {column: _cell(members, metric, split) for column, members in cells.items()},
        )
        for label, cells in groups.items()
    ]
    return Table(
        metric,
        split,
        columns,
        _with_averages(_with_ranks(rows, columns), columns),
        {column: _majority(final, column, split) for column in columns},
        {column: _count(final, column, split) for column in columns},
    )


def column_title(column: Column, columns: Sequence[Column]) -> str:
    """Name a column by task and regime, by its backbone where that differs, and paper practice."""
    parts = [column.task, column.regime]
    parts += [column.backbone] if len({c.backbone for c in columns}) > 1 else []
    parts += ["paper practice"] if column.is_paper_practice else []
    return ", ".join(parts)


def metric_of(run: RunRow, metric: str, split: str) -> float:
    """Return one number of a succeeded run, NaN when it has none."""
    part = (run.result or {}).get(split) or {}
    value = part.get(metric)
    return float(value) if isinstance(value, int | float) else math.nan


def trainable_of(run: RunRow) -> float:
    """Return the trainable parameters of a run, NaN when unknown."""
    counts = (run.result or {}).get("num_trainable") or run.num_trainable
    if isinstance(counts, Mapping):
        return float(sum(counts.values())) if counts else math.nan
    return float(counts) if counts else math.nan


def _column(run: RunRow) -> Column:
    return Column(run.task, run.backbone, run.regime, run.selection)


def _with_row_labels(runs: Sequence[RunRow]) -> list[tuple[str, RunRow]]:
    """Give configs with equal labels in one column rows of their own: they are not averaged."""
    seen: dict[tuple[str, Column], list[str]] = {}
    labelled = []
    for run in runs:
        hashes = seen.setdefault((run.method_label, _column(run)), [])
        if run.config_hash not in hashes:
            hashes.append(run.config_hash)
        number = hashes.index(run.config_hash) + 1
        name = run.method_label if number == 1 else f"{run.method_label} [settings {number}]"
        labelled.append((name, run))
    return labelled


def _cell(members: Sequence[RunRow], metric: str, split: str) -> Cell:
    by_seed: dict[Seed, RunRow] = {}
    for run in members:
        seed = (run.data_seed, run.init_seed)
        before = by_seed.get(seed)
        if before is None or before.state != RunState.SUCCEEDED:
            by_seed[seed] = run
    runs = list(by_seed.values())
    values = {
        seed: metric_of(run, metric, split)
        for seed, run in by_seed.items()
        if math.isfinite(metric_of(run, metric, split))
    }
    ended = [run for run in runs if run.state in (RunState.SUCCEEDED, RunState.FAILED)]
    flags = [set((run.result or {}).get("flags") or ()) for run in ended]
    failures = sum(
        run.state == RunState.FAILED or bool(found & FAILURE_FLAGS)
        for run, found in zip(ended, flags, strict=True)
    )
    waiting = len(runs) - len(ended) - sum(run.state == RunState.CANCELLED for run in runs)
    return Cell(
        mean_std(values.values()),
        values,
        {seed: run.run_id for seed, run in by_seed.items()},
        failures,
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


def _with_averages(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    averages = [_average(row, columns) for row in rows]
    sure = [min((cell.summary.n for cell in row.cells.values()), default=0) for row in rows]
    ranked = [
        average if n >= LEAST_SEEDS_TO_RANK else math.nan
        for average, n in zip(averages, sure, strict=True)
    ]
    return tuple(
        row._replace(average=average, average_rank=rank)
        for row, average, rank in zip(rows, averages, _ranks(ranked), strict=True)
    )


def _average(row: Row, columns: Sequence[Column]) -> float:
    """Average the means of equal questions on different tasks; NaN where that would mislead."""
    sizes = {cell.summary.n for cell in row.cells.values()}
    settings = {(column.regime, column.selection) for column in columns}
    if len(columns) < 2 or len(row.cells) < len(columns) or len(settings) > 1 or len(sizes) > 1:
        return math.nan
    return sum(row.cells[column].summary.mean for column in columns) / len(columns)


def _mean_trainable(runs: Sequence[RunRow]) -> float:
    return mean_std(trainable_of(run) for run in runs).mean


def _majority(runs: Sequence[RunRow], column: Column, split: str) -> float:
    values = [
        (run.result or {}).get("majority", {}).get(split) for run in runs if _column(run) == column
    ]
    return next((float(value) for value in values if value is not None), math.nan)


def _count(runs: Sequence[RunRow], column: Column, split: str) -> int:
    values = [
        (run.result or {}).get("counts", {}).get(split) for run in runs if _column(run) == column
    ]
    return next((int(value) for value in values if value is not None), 0)
