"""A comparison table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping

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
from core.wording import counted, percent

CHOSEN_ON = {
    "dev": "checkpoints are chosen on dev",
    "paper_practice": "paper practice: trained on all of train, checkpoints are chosen on the "
    "reported split itself",
    "fold": "checkpoints are chosen on one fold of train",
    "refit": "settings are chosen by the mean over five folds of train, then trained on all of "
    "train without dev, and the last checkpoint is kept",
}
"""What a number's checkpoint was chosen on, by ``Column.selection``."""

FLAGGED_NOTE = (
    "Flagged: succeeded, but looks unfitted, at chance or collapsed; it stays in the mean."
)
PROBE_NOTE = (
    "Below probe: the mean lies under that of the linear probe, which trains nothing but a head."
)
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
    "std", "n", "failed", "flagged", "ended", "flags", "majority", "examples",
    "trainable_parameters", "runs",
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
                    cell.failed,
                    cell.flagged,
                    cell.ended,
                    harmless(flags),
                    _number(table.majority[column]),
                    table.counts[column],
                    _span(cell.trainable.values()),
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
    lines.append(_bar(["majority class", *(percent(table.majority[c]) for c in table.columns)]))
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
    majority = [percent(table.majority[column], none="--") for column in table.columns]
    lines += [r"\midrule", _ampersands(["majority class", *majority]), r"\bottomrule"]
    lines += [r"\end{tabular}", rf"\caption{{{latex(caption(table))}}}", r"\end{table}"]
    return "\n".join([*lines, ""])


def caption(table: Table) -> str:
    """Say what the numbers are."""
    sizes = {cell.summary.n for row in table.rows for cell in row.cells.values()}
    counts = sorted(sizes - {0})
    seeds = f"n = {counted(counts[0], 'run')}" if counts else "seeds (no run has a result yet)"
    if len(counts) > 1:
        seeds = f"n = {counts[0]} to {counts[-1]} runs"
    name = _measure(table)
    return " ".join(
        [
            f"{name[:1].upper()}{name[1:]} on {table.split} in percent, "
            f"mean ± standard deviation over {seeds}; {_chosen_on(table)}.",
            *footnotes(table),
        ]
    )


def footnotes(table: Table) -> list[str]:
    """Explain the words that stand beside numbers, only those that occur."""
    cells = [cell for row in table.rows for cell in row.cells.values()]
    notes = {
        "Failed: ended with an error and has no number.": any(cell.failed for cell in cells),
        FLAGGED_NOTE: any(cell.flagged for cell in cells),
        PROBE_NOTE: any(cell.is_below_probe for cell in cells),
    }
    return [note for note, occurs in notes.items() if occurs]


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
    if cell is None:
        return none
    text = _plus_minus(cell.summary, sign) if cell.summary.n else none
    said = remarks(cell, one="n = 1")
    return marks[cell.rank].format(text) + (f" ({', '.join(said)})" if said else "")


def _plus_minus(summary: Summary, sign: str) -> str:
    mean = percent(summary.mean)
    return mean if summary.n < 2 else f"{mean}{sign}{percent(summary.std)}"


def remarks(cell: Cell, *, one: str = "") -> list[str]:
    """Say what stands beside a cell's number: seeds to come, failed and flagged runs, the probe.

    Args:
        cell: The cell.
        one: What to say of a single seed; empty: nothing.
    """
    said = [one] if one and cell.summary.n == 1 else []
    said += [f"{cell.waiting} not ended"] if cell.waiting else []
    said += [f"failed {cell.failed}/{cell.ended}"] if cell.failed else []
    said += [f"flagged {cell.flagged}/{cell.ended}"] if cell.flagged else []
    return said + (["below probe"] if cell.is_below_probe else [])


def _number(value: float) -> str:
    return format(value, ".6g") if math.isfinite(value) else ""


def _span(counts: Iterable[float]) -> str:
    """Write a count, or the smallest and largest of different ones."""
    known = sorted({count for count in counts if math.isfinite(count)})
    return "-".join(f"{count:.0f}" for count in dict.fromkeys([*known[:1], *known[-1:]]))


def _bar(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: list[str]) -> str:
    return rf"{' & '.join(cells)} \\"


FORMATS: Mapping[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
"""Writers by the ending of a file's name."""
