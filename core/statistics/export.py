"""A comparison table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping

from core.metrics import TITLES
from core.statistics.intervals import Summary
from core.statistics.parts import measure_title
from core.statistics.table import (
    SELECTION_TITLES,
    Cell,
    Column,
    Row,
    Table,
    column_title,
)

CHOSEN_ON = {
    "dev": "checkpoints are chosen on dev",
    "paper_practice": "paper practice: trained on all of train, checkpoints are chosen on the "
    "reported split itself",
    "fold": "checkpoints are chosen on one fold of train",
    "refit": "settings are chosen by the mean over five folds of train, then trained on all of "
    "train without dev, and the last checkpoint is kept",
}
"""What a number's checkpoint was chosen on, by ``Column.selection``."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≤": r"$\leq$",
    "±": r"$\pm$",
}
CSV_HEAD = (
    "method", "task", "backbone", "regime", "selection", "trained_on", "metric", "split", "mean",
    "std", "n", "failures", "ended", "flags", "majority", "examples", "trainable_parameters",
    "runs",
)  # fmt: skip


def to_csv(table: Table) -> str:
    """Write one line a cell, shares as 0 to 1; texts that a spreadsheet would run are quoted."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(CSV_HEAD)
    for row in table.rows:
        for column, cell in row.cells.items():
            flags = "; ".join(f"{name} {count}" for name, count in cell.flags.items())
            measure = measure_title(table.measured[column]) or table.metric
            names = [row.label, *column[:4], column.trained_on or column.task]
            names += [measure, table.split]
            writer.writerow(
                [
                    *map(harmless, names),
                    _number(cell.summary.mean),
                    _number(cell.summary.std),
                    cell.summary.n,
                    cell.failures,
                    cell.ended,
                    harmless(flags),
                    _number(table.majority[column]),
                    table.counts[column],
                    _number(row.num_trainable, ".0f"),
                    " ".join(cell.run_ids),
                ]
            )
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Write the table in percent; best bold, second in italics."""
    lines = [
        _bar(["method", *(_markdown(title) for title in _titles(table))]),
        _bar(["---", *("---:" for _ in table.columns)]),
    ]
    marks = {0: "{}", 1: "**{}**", 2: "*{}*"}
    for row in table.rows:
        cells = [_cell(row, column, marks, " ± ") for column in table.columns]
        lines.append(_bar([_markdown(row.label), *cells]))
    lines.append(_bar(["majority class", *(_percent(table.majority[c]) for c in table.columns)]))
    return "\n".join([*lines, "", _markdown(caption(table)), ""])


def to_latex(table: Table) -> str:
    """Write a booktabs table in percent; best bold, second underlined."""
    heads = [latex(title) for title in _titles(table)]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _ampersands(["method", *heads]),
        r"\midrule",
    ]
    marks = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
    for row in table.rows:
        cells = [_cell(row, column, marks, r" $\pm$ ", "--") for column in table.columns]
        lines.append(_ampersands([latex(row.label), *cells]))
    majority = [_percent(table.majority[column], "--") for column in table.columns]
    lines += [r"\midrule", _ampersands(["majority class", *majority]), r"\bottomrule"]
    lines += [r"\end{tabular}", rf"\caption{{{latex(caption(table))}}}", r"\end{table}"]
    return "\n".join([*lines, ""])


def caption(table: Table) -> str:
    """Say what the numbers are."""
    sizes = {cell.summary.n for row in table.rows for cell in row.cells.values()}
    counts = sorted(sizes - {0})
    seeds = "no run" if not counts else f"n = {counts[0]}"
    if len(counts) > 1:
        seeds = f"n = {counts[0]} to {counts[-1]}"
    name = _measure(table)
    return (
        f"{name[:1].upper()}{name[1:]} on {table.split} in percent, "
        f"mean ± standard deviation over {seeds} runs; {_chosen_on(table)}."
    )


def _measure(table: Table) -> str:
    """Name the metric, and where tasks show different ones the metric of each."""
    tasks: dict[str, list[str]] = {}
    for column in table.columns:
        if measure := measure_title(table.measured[column]):
            tasks.setdefault(measure, []).append(column.task)
    if len(tasks) == 1:
        return next(iter(tasks))
    said = [f"{measure}: {', '.join(dict.fromkeys(names))}" for measure, names in tasks.items()]
    title = TITLES.get(table.metric, table.metric)
    return f"{title} ({'; '.join(said)})" if said else title


def _chosen_on(table: Table) -> str:
    """Say what checkpoints are chosen on, which decides what a number is worth."""
    found = [name for name in CHOSEN_ON if name in {c.selection for c in table.columns}]
    if len(found) < 2:
        return CHOSEN_ON[found[0] if found else "dev"]
    said = [f"in columns with {SELECTION_TITLES[name]}: {CHOSEN_ON[name]}" for name in found]
    if found[0] == "dev":
        said[0] = CHOSEN_ON["dev"]
    return "; ".join(said)


def harmless(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def latex(text: str) -> str:
    """Escape the signs that LaTeX reads as commands."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def _markdown(text: str) -> str:
    for sign in "\\|*_`[]<>":
        text = text.replace(sign, f"\\{sign}")
    return text


def _titles(table: Table) -> list[str]:
    return [column_title(column, table.columns) for column in table.columns]


def _cell(row: Row, column: Column, marks: dict[int, str], sign: str, none: str = "–") -> str:
    cell = row.cells.get(column)
    if cell is None or not cell.summary.n:
        return none
    text = marks[cell.rank].format(_plus_minus(cell.summary, sign))
    return text + _remark(cell)


def _plus_minus(summary: Summary, sign: str) -> str:
    mean = _percent(summary.mean)
    return mean if summary.n < 2 else f"{mean}{sign}{_percent(summary.std)}"


def _remark(cell: Cell) -> str:
    remarks = [f"n = {cell.summary.n}"] if cell.summary.n < 2 else []
    remarks += [f"failed {cell.failures}/{cell.ended}"] if cell.failures else []
    return f" ({', '.join(remarks)})" if remarks else ""


def _percent(value: float, none: str = "–") -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else none


def _number(value: float, form: str = ".6g") -> str:
    return format(value, form) if math.isfinite(value) else ""


def _bar(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} \\"


FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
"""Writers by the ending of a file's name."""
