"""``studio audit``: what the choices of a finished run are worth, without a browser."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.audit_words import MEANING, Described, described
from app.result_table import percent, signed
from core.artifacts import artifact_store
from core.errors import ConfigError, StudioError
from core.local.services import open_home
from core.logs import configure_logging
from core.metrics import TITLES
from core.settings import Settings, get_settings
from core.states import RunState
from core.store import queries
from core.store.migrate import require_head
from core.store.session import Store
from core.store.views import RunView

DONE, BAD_INPUT = 0, 2
WIDTH_WITHOUT_TERMINAL = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the audit of a run, and write it as JSON where a file is named.

    Returns:
        0 when it was printed, 2 when it was refused.
    """
    parser = argparse.ArgumentParser(prog="studio audit", description=__doc__)
    parser.add_argument("run", help="run, for example S3-12")
    parser.add_argument("--out", type=Path, help="new JSON file with all numbers")
    options = parser.parse_args(arguments)
    settings = get_settings()
    configure_logging(settings.log_format)
    notes = Console(stderr=True)
    try:
        open_home(settings)
        require_head(settings.sqlalchemy_url)
        store = Store(settings.sqlalchemy_url)
        with store.read() as session:
            view = queries.run_view(session, options.run)
        entries = entries_of(view, settings, notes)
        if options.out is not None:
            write(options.out.expanduser().absolute(), entries)
    except StudioError as error:
        say(notes, str(error))
        return BAD_INPUT
    out = Console()
    if not out.is_terminal:
        out = Console(width=WIDTH_WITHOUT_TERMINAL)
    for one in described(entries):
        show(out, one, f"{view.row.slug} {view.row.method_label}")
    say(out, MEANING)
    return DONE


def say(console: Console, text: str) -> None:
    """Write a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def entries_of(view: RunView, settings: Settings, notes: Console) -> list[Mapping[str, Any]]:
    """Return the audit of a run: as it was stored, else made now from its adapter.

    Raises:
        ConfigError: If the run has no adapter, or nothing of it can be audited.
    """
    stored = view.result.get("audit")
    if stored:
        return list(stored)
    name = view.artifacts.get("adapter")
    if view.row.state is not RunState.SUCCEEDED or name is None:
        raise ConfigError(
            f"{view.row.slug} ({view.row.state}) has no trained adapter to audit.",
            hint=_way_to_adapter(view.row.state),
        )
    say(notes, f"{view.row.slug} has no stored audit; scoring dev with its adapter …")
    folder = artifact_store(settings).fetch(name)
    command = [sys.executable, "-P", "-m", "core.training.audit_command", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it told no reason"]
        raise ConfigError(f"{view.row.slug} could not be audited: {last[0]}")
    found: list[Mapping[str, Any]] = json.loads(done.stdout)
    return found


def _way_to_adapter(state: RunState) -> str:
    if state is RunState.SUCCEEDED:
        return "Its files are gone: clone it to train it again, or audit another run."
    if state in (RunState.QUEUED, RunState.STARTING, RunState.RUNNING):
        return "Wait until it succeeds."
    return "Retry it on its page and wait until it succeeds, or audit another run."


def write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write all numbers as JSON to a new file.

    Raises:
        ConfigError: If it exists or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            json.dump(list(entries), stream, indent=2)
    except OSError as error:
        raise ConfigError(
            f"{path} could not be written: {error.strerror or error}.",
            hint="Name another file in a folder that exists.",
        ) from error


def show(out: Console, one: Described, name: str) -> None:
    """Print one axis: its table, the gains, and the choices of each class."""
    out.print(rows_table(one, name))
    metric = TITLES.get(one.metric, one.metric)
    for label, value, low, high in one.gains:
        nan = float("nan")
        ends = f"{signed(nan if low is None else low)} … {signed(nan if high is None else high)}"
        gain = signed(nan if value is None else value)
        say(out, f"Own minus {label}: {gain} points of {metric} (95 % {ends}).")
    say(out, one.told)
    out.print(class_table(one))


def rows_table(one: Described, name: str) -> Table:
    """Build the table of rows, in percent."""
    table = Table(title=f"{name}: {one.title}, in percent", title_justify="left")
    table.caption, table.caption_justify = one.about, "left"
    table.add_column("choice", overflow="fold")
    metrics = list(dict.fromkeys((one.metric, *one.lines[0].metrics)))
    for metric in metrics:
        table.add_column(TITLES.get(metric, metric), justify="right")
    table.add_column("remarks", overflow="fold")
    for line in (*one.lines, *one.fixed):
        numbers = (percent(line.metrics.get(metric)) for metric in metrics)
        table.add_row(line.label, *numbers, line.note)
    return table


def class_table(one: Described) -> Table:
    """Build the table of how often each class took each choice."""
    table = Table(title="Choices by class", title_justify="left")
    table.add_column("class", overflow="fold")
    taken = [i for i in range(len(one.names)) if any(counts[i] for counts in one.by_class)]
    for place in taken:
        table.add_column(one.names[place], justify="right", overflow="fold")
    for label, counts in zip(one.classes, one.by_class, strict=True):
        table.add_row(label, *(str(counts[place]) for place in taken))
    return table


if __name__ == "__main__":
    sys.exit(main())
