"""What a folder with several tasks holds, file by file, against the official counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.data.examples import Example
from core.data.places import FEWGLUE_FOLDERS, HIDDEN_TEST, SUITE_FOLDERS
from core.data.readers import UNKNOWN, read_rows, to_examples
from core.errors import DataError
from core.tasks import TASKS, TaskSpec

State = Literal["official", "partial", "absent", "faulty"]

FEWGLUE_LINES = 32
FEWGLUE_STEMS = ("train", "dev32")
HIDDEN_STEM = Path(HIDDEN_TEST).stem


@dataclass(frozen=True)
class FileReport:
    """One file of a task.

    Attributes:
        task: Title of the task.
        file: Its path from the folder that is checked.
        found: What it holds, counted, for people; empty when it is absent.
        official: What it should hold.
        state: ``official``: read completely and the count is the official one; ``partial``: read
            completely, another count; ``absent``: not there; ``faulty``: cannot be read.
        labels: Examples of each label, or what is wrong with the file.
        examples: Examples in it, a count.
    """

    task: str
    file: str
    found: str
    official: str
    state: State
    labels: str
    examples: int = 0


@dataclass(frozen=True)
class SuiteReport:
    """All files of a suite's folder.

    Attributes:
        files: Official files, present or not.
        others: What else lies there, a sentence each.
    """

    files: tuple[FileReport, ...]
    others: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """False when a file cannot be read."""
        return all(file.state != "faulty" for file in self.files)


def suite_tasks() -> tuple[TaskSpec, ...]:
    """SuperGLUE's tasks in the order of their titles, then its diagnostics."""
    by_title = sorted(TASKS.values(), key=lambda spec: spec.title.casefold())
    return tuple(
        spec for suite in ("superglue", "diagnostic") for spec in by_title if spec.suite == suite
    )


def holds_tasks(folder: Path) -> bool:
    """Tell whether a folder holds folders of tasks, and not the files of one."""
    if any(folder.glob("*.jsonl")):
        return False
    names = {name for spec in TASKS.values() for name in spec.folder}
    known = names | set(FEWGLUE_FOLDERS) | set(SUITE_FOLDERS)
    return any(path.is_dir() and path.name in known for path in folder.iterdir())


def check_suite(folder: Path) -> SuiteReport:
    """Read every file of every SuperGLUE task and diagnostic set in a folder, completely.

    Args:
        folder: A suite (``superglue``, ``fewglue``), or a folder around such ones.
    """
    fewglue = _named(folder, FEWGLUE_FOLDERS)
    suites = [] if folder in fewglue else _named(folder, SUITE_FOLDERS[1:]) or [folder]
    files = [
        report
        for suite in suites
        for spec in suite_tasks()
        for report in _official_files(spec, suite, folder)
    ]
    files += [
        report
        for suite in fewglue
        for spec in suite_tasks()
        if spec.suite == "superglue"
        for report in _fewglue_files(spec, suite, folder)
    ]
    known = {suite / name for suite in suites + fewglue for s in suite_tasks() for name in s.folder}
    known.update(suites, fewglue)
    others = [
        _about(path)
        for place in dict.fromkeys((folder, *suites, *fewglue))
        for path in sorted(place.iterdir())
        if path not in known and (path.is_dir() or path.suffix == ".jsonl")
    ]
    return SuiteReport(tuple(files), tuple(others))


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    """The folder itself, or those in it, that have one of the names."""
    if folder.name in names:
        return [folder]
    return [folder / name for name in names if (folder / name).is_dir()]


def _folder_of(spec: TaskSpec, suite: Path) -> Path:
    found = (suite / name for name in spec.folder if (suite / name).is_dir())
    return next(found, suite / spec.folder[0])


def _official_files(spec: TaskSpec, suite: Path, root: Path) -> Iterator[FileReport]:
    folder = _folder_of(spec, suite)
    for stem, official in spec.counts.items():
        path = folder / f"{stem}.jsonl"
        # Nobody trains on the unlabelled test file or reports on it, so its absence is no news.
        if stem != HIDDEN_STEM or path.is_file():
            yield _file_report(spec, path, root, official, f"{official:,} {spec.units[-1]}")


def _fewglue_files(spec: TaskSpec, suite: Path, root: Path) -> Iterator[FileReport]:
    folder = _folder_of(spec, suite)
    for stem in FEWGLUE_STEMS:
        path, wanted = folder / f"{stem}.jsonl", f"{FEWGLUE_LINES} lines (FewGLUE)"
        yield _file_report(spec, path, root, FEWGLUE_LINES, wanted, by_line=True)


def _file_report(
    spec: TaskSpec, path: Path, root: Path, official: int, wanted: str, *, by_line: bool = False
) -> FileReport:
    name = str(path.relative_to(root))
    if not path.is_file():
        return FileReport(spec.title, name, "", wanted, "absent", "")
    is_hidden = path.name == HIDDEN_TEST and spec.suite == "superglue"
    try:
        rows = read_rows(path)
        examples = to_examples(rows, spec, spec.labels, path, hidden=is_hidden)
    except DataError as error:
        return FileReport(spec.title, name, "", wanted, "faulty", str(error))
    count = len(rows) if by_line else len(examples)
    labels = label_counts(examples, spec.labels)
    if is_hidden:
        shown = all(example.label == UNKNOWN for example in examples)
        labels = "hidden" if shown else "has labels, which the official file has not: never read"
    return FileReport(
        task=spec.title,
        file=name,
        found=_counted(spec, len(rows), examples),
        official=wanted,
        state="official" if count == official else "partial",
        labels=labels,
        examples=len(examples),
    )


def _counted(spec: TaskSpec, num_lines: int, examples: Sequence[Example]) -> str:
    """Write how many lines, questions and examples there are, as far as they differ."""
    counts = [len(examples)]
    if len(spec.units) > 1:
        counts.insert(0, num_lines)
    if len(spec.units) > len(counts):
        counts.insert(1, len({example.question for example in examples}))
    return ", ".join(f"{n:,} {unit}" for n, unit in zip(counts, spec.units, strict=True))


def label_counts(examples: Sequence[Example], labels: Sequence[str]) -> str:
    """Write how many examples each label has; empty where choices vary in number."""
    counts = Counter(example.label for example in examples)
    return ", ".join(f"{label} {counts[index]:,}" for index, label in enumerate(labels))


def _about(path: Path) -> str:
    """Say what something in a suite's folder is, which is none of its files."""
    if path.is_file():
        return f"{path.name}: a file outside of a task's folder, not read"
    if path.name in FEWGLUE_FOLDERS:
        return f"{path.name}: FewGLUE's fixed 32 examples, for few_shot with draw: fewglue"
    known = next((spec for spec in TASKS.values() if path.name in spec.folder), None)
    if known is not None:
        return f"{path.name}: {known.title}, read as task {known.name}"
    stems = sorted(file.stem for file in path.glob("*.jsonl"))
    if "train" in stems:
        return f"{path.name}: a folder of its own with {', '.join(stems)}, read as folder: {path}"
    if stems:
        return f"{path.name}: no known task ({', '.join(stems)}), not read"
    return f"{path.name}: no JSONL file, not read"
