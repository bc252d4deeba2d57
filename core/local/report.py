"""What the command line tells about data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.data.check import check_suite, holds_tasks, label_counts
from core.data.examples import TaskData
from core.data.hub import fetch
from core.data.library import find_dataset, list_datasets
from core.data.places import diagnostic_file, find_files, locate
from core.data.tasks import read_diagnostic, read_task, split_sizes
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.regimes import Source
from core.settings import get_settings
from core.tasks import TASKS, TaskSpec
from core.wording import counted, percent

PLAIN_WIDTH = 140
FEWGLUE_ONLY = "FewGLUE only: few_shot with draw: fewglue"


def console() -> Console:
    """Standard output; wide enough for a table when it is no terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def counts(data: TaskData) -> str:
    """Write the sizes of the three splits."""
    return f"{len(data.train):,} / {len(data.dev):,} / {len(data.test):,}"


def list_tasks() -> int:
    """Print every task with its folder and the sizes of its splits, or what is missing."""
    folders = get_settings().data_folders
    table = _table("Tasks", "task", "train / dev / test", "folder or what is missing")
    for name, spec in sorted(TASKS.items()):
        table.add_row(name, *_place(spec, folders))
    console().print(table)
    added = list_datasets(folders)
    if added:
        own = _table("Added data sets", "name", "version", "train / dev / test", "folder")
        for found in added:
            card = found.card
            sizes = " / ".join(f"{size:,}" for size in split_sizes(card, folders).values())
            own.add_row(card.name, card.version, sizes, str(found.folder))
        console().print(own)
    return 0


def _place(spec: TaskSpec, folders: Sequence[Path]) -> tuple[str, str]:
    """Sizes of a task's splits, or which regime has files; its folder, or what is missing."""
    choice = TaskChoice(name=spec.name)
    try:
        if spec.suite == "diagnostic":
            path = diagnostic_file(spec, folders)
            return f"{len(read_diagnostic(spec, path)):,}", str(path.parent)
        source = _source(choice, spec, folders)
        data = read_task(choice, folders, source=source)
    except DataError as error:
        return "–", "; ".join([error.message.rstrip("."), *_fewglue(spec, folders)])
    if source == "fewglue":
        return FEWGLUE_ONLY, "; ".join([*_fewglue(spec, folders), *data.notes])
    place = "bundled" if spec.suite == "bundled" else str(locate(choice, folders))
    return counts(data), "; ".join([place, *data.notes, *_fewglue(spec, folders)])


def _source(choice: TaskChoice, spec: TaskSpec, folders: Sequence[Path]) -> Source:
    """Choose the official files, or FewGLUE's where only those are here.

    Raises:
        DataError: If neither are here; says what is missing of the official ones.
    """
    try:
        find_files(choice, spec, folders, "official")
    except DataError:
        if _fewglue(spec, folders):
            return "fewglue"
        raise
    return "official"


def _fewglue(spec: TaskSpec, folders: Sequence[Path]) -> list[str]:
    try:
        files = find_files(TaskChoice(name=spec.name), spec, folders, "fewglue")
    except DataError:
        return []
    return [f"FewGLUE's 32: {files.train.parent}"]


def task_choice(reference: str) -> TaskChoice:
    """Turn the name of a task or of an added data set, or the path of a folder, into a choice.

    Raises:
        DataError: If it is none of them.
    """
    if reference in TASKS:
        return TaskChoice(name=reference)
    added = list_datasets(get_settings().data_folders)
    if any(found.card.name == reference for found in added):
        return TaskChoice(name=reference, dataset="latest")
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        known = ", ".join(sorted(TASKS))
        raise DataError(
            f"'{reference}' is neither a task ({known}), nor an added data set, nor a folder."
        )
    # A folder with an official name holds that task; its files decide whether that is true.
    named = next((spec.name for spec in TASKS.values() if folder.resolve().name in spec.folder), "")
    return TaskChoice(name=named or folder.resolve().name, folder=str(folder.resolve()))


def check(reference: str) -> int:
    """Check a suite's folder file by file, or one task completely.

    Returns:
        0, or 1 when a file of a suite cannot be read.

    Raises:
        DataError: With the file and line of the first fault of a task.
    """
    folder = Path(reference).expanduser()
    if reference not in TASKS and folder.is_dir() and holds_tasks(folder):
        return _check_suite(folder.resolve())
    return check_task(reference)


def _check_suite(folder: Path) -> int:
    report = check_suite(folder)
    out = console()
    table = _table(str(folder), "task", "file", "found", "official", "state", "labels")
    for file in report.files:
        table.add_row(
            file.task, file.file, file.found or "–", file.official, file.state, file.labels
        )
    out.print(table)
    for sentence in report.others:
        out.print(f"also there: {sentence}", soft_wrap=True)
    return 0 if report.is_sound else 1


def check_task(reference: str) -> int:
    """Read a task completely and print its splits, labels, templates and notes.

    Raises:
        DataError: With the file and line of the first fault.
    """
    choice, folders = task_choice(reference), get_settings().data_folders
    spec = TASKS.get(choice.name)
    if spec is not None and spec.suite == "diagnostic":
        return _check_diagnostic(spec, choice, folders)
    source: Source = "official"
    if choice.folder:
        source = "fewglue" if (Path(choice.folder) / "dev32.jsonl").is_file() else "official"
    elif spec is not None:
        source = _source(choice, spec, folders)
    data = read_task(choice, folders, source=source)
    out = console()
    out.print(f"{data.title}: train / dev / test = {counts(data)}, version {data.version}")
    out.print(f"dev is {data.dev_source}, test is {data.test_source}")
    if source == "fewglue":
        out.print(
            "only FewGLUE's files are read: it trains with regimes: "
            "[{kind: few_shot, draw: fewglue}]",
            soft_wrap=True,
            markup=False,
        )
    for name, extra in data.extra.items():
        out.print(f"{name}: {extra.title}, {counted(len(extra.examples), 'example')}")
    out.print(_label_table(data))
    if spec is not None:
        _print_templates(out, spec)
    for note in (*data.notes, *_reading_notes(choice, folders)):
        out.print(f"note: {note}", soft_wrap=True)
    return 0


def _reading_notes(choice: TaskChoice, folders: Sequence[Path]) -> tuple[str, ...]:
    """How the files of an added data set were read when they were added."""
    if not choice.dataset:
        return ()
    return find_dataset(choice.name, choice.dataset, folders).card.notes


def _label_table(data: TaskData) -> Table:
    splits = ("train", "dev", "test")
    table = Table()
    for heading in ("label", *splits):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for index, label in enumerate(data.labels):
        sizes = (sum(e.label == index for e in data.split(split)) for split in splits)
        table.add_row(label, *(f"{size:,}" for size in sizes))
    what = "majority, %" if data.labels else "even choice, %"
    table.add_row(what, *(percent(data.majority_share(split)) for split in splits))
    return table


def _print_templates(out: Console, spec: TaskSpec) -> None:
    for place, name in enumerate(spec.template_names):
        default = " (default)" if place == 0 else ""
        segments = "  |  ".join(spec.segments(name))
        out.print(f"template {name}{default}: {segments}", soft_wrap=True, markup=False)
    if spec.label_words:
        words = ", ".join(f"{label} = {word}" for label, word in spec.label_words.items())
        out.print(f"label words: {words}", soft_wrap=True, markup=False)


def _check_diagnostic(spec: TaskSpec, choice: TaskChoice, folders: Sequence[Path]) -> int:
    own = Path(choice.folder) if choice.folder else None
    path = diagnostic_file(spec, (own, *folders) if own else folders)
    examples = read_diagnostic(spec, path)
    out = console()
    out.print(f"{spec.title}: {counted(len(examples), 'example')}, {path}", soft_wrap=True)
    out.print(label_counts(examples, spec.labels))
    out.print(f"note: {spec.note}", soft_wrap=True)
    return 0


def fetch_task(task: str, repository: str) -> int:
    """Fetch an official task from the Hub into the home folder, and check it.

    Raises:
        DataError: If it cannot be fetched, or is not what the task's files are.
    """
    settings = get_settings()
    folder = fetch(task, settings.hub_path, offline=settings.offline, repository=repository)
    console().print(f"fetched {TASKS[task].title} into {folder}", soft_wrap=True)
    return check_task(str(folder))
