"""What the command line tells about data sets and the database."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.data.examples import TaskData
from core.data.tasks import locate, read_task
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.settings import get_settings
from core.tasks import TASKS

PLAIN_WIDTH = 120


def console() -> Console:
    """Standard output; wide enough for a table when it is no terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)


def counts(data: TaskData) -> str:
    """Write the sizes of the three splits."""
    return f"{len(data.train):,} / {len(data.dev):,} / {len(data.test):,}"


def list_tasks() -> int:
    """Print every task with its folder and the sizes of its splits, or what is missing."""
    folders = get_settings().data_folders
    table = Table(title="Tasks", title_justify="left")
    for heading in ("task", "train / dev / test", "folder or what is missing"):
        table.add_column(heading, overflow="fold")
    for name, spec in sorted(TASKS.items()):
        choice = TaskChoice(name=name)
        try:
            data = read_task(choice, folders)
        except DataError as error:
            table.add_row(name, "–", error.message)
            continue
        place = "bundled" if spec.suite == "bundled" else str(locate(choice, folders))
        table.add_row(name, counts(data), "; ".join([place, *data.notes]))
    console().print(table)
    return 0


def task_choice(reference: str) -> TaskChoice:
    """Turn the name of a task, or the path of a folder, into a choice.

    Raises:
        DataError: If it is neither.
    """
    if reference in TASKS:
        return TaskChoice(name=reference)
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        known = ", ".join(sorted(TASKS))
        raise DataError(f"'{reference}' is neither a task ({known}) nor a folder.")
    return TaskChoice(name=folder.resolve().name, folder=str(folder.resolve()))


def check_task(reference: str) -> int:
    """Read a task completely and print its splits, labels and notes.

    Raises:
        DataError: With the file and line of the first fault.
    """
    data = read_task(task_choice(reference), get_settings().data_folders)
    out = console()
    out.print(f"{data.title}: train / dev / test = {counts(data)}, version {data.version}")
    out.print(f"dev is {data.dev_source}, test is {data.test_source}")
    table = Table()
    for heading in ("label", "train", "dev", "test"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    shares = {
        split: Counter(e.label for e in data.split(split)) for split in ("train", "dev", "test")
    }
    for index, label in enumerate(data.labels):
        table.add_row(label, *(f"{shares[split][index]:,}" for split in shares))
    table.add_row("majority, %", *(f"{100 * data.majority_share(split):.1f}" for split in shares))
    out.print(table)
    for note in data.notes:
        out.print(f"note: {note}")
    return 0
