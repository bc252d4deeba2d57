"""Where the files of a task stand: official folders, FewGLUE, diagnostics, one's own folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.library import find_dataset
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.regimes._config import Source
from core.tasks import TASKS, TaskSpec

BUNDLED_FOLDER = Path(__file__).parent.parent / "tasks" / "bundled"
SUITE_FOLDERS = ("", "superglue", "SuperGLUE")
FEWGLUE_FOLDERS = ("fewglue", "FewGLUE", "FewGLUE_32dev")
HIDDEN_TEST = "test.jsonl"


@dataclass(frozen=True)
class TaskFiles:
    """Files that a task's splits are read from.

    Attributes:
        folder: Folder that a queued run records.
        train: Examples to train on.
        dev: Examples to choose on; None: cut from train.
        test: Examples to report on.
        diagnostics: Pairs (name of the diagnostic task, its file).
        hidden: The official test file, whose labels nobody has; None where there is none.
        source: ``fewglue`` when train is FewGLUE's.
        notes: What a reader of the numbers should know about the choice of files.
    """

    folder: Path
    train: Path
    dev: Path | None
    test: Path
    diagnostics: tuple[tuple[str, Path], ...] = ()
    hidden: Path | None = None
    source: Source = "official"
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[Path, ...]:
        """Files of train, dev, test and diagnostics, each once, by name."""
        found = {self.train, self.test, *(path for _, path in self.diagnostics)}
        found |= {self.dev} if self.dev else set()
        return tuple(sorted(found, key=lambda path: (path.name, path)))

    @property
    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Path, time of change and size of every file that is read."""
        paths = (*self.scored, *((self.hidden,) if self.hidden else ()))
        return tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in paths)


def locate(choice: TaskChoice, folders: Sequence[Path] = ()) -> Path:
    """Find the folder of a task's files.

    Args:
        choice: Task of a recipe; its own folder wins.
        folders: Folders with a suite, or with one task, in order.

    Raises:
        DataError: Naming every folder looked in and what to do.
    """
    if choice.folder and not _is_elsewhere_by_now(choice):
        return _own_folder(choice, folders)
    if choice.dataset:
        return find_dataset(choice.name, choice.dataset, folders).folder
    spec = TASKS[choice.name]
    if spec.suite == "bundled":
        return BUNDLED_FOLDER / spec.folder[0]
    found = _official_folder(spec, folders)
    if found is not None:
        return found
    looked = ", ".join(str(folder) for folder in folders) or "no folder was given"
    fetch = f", or fetch it: studio data fetch {spec.name}" if spec.hub else ""
    raise DataError(
        f"Task '{choice.name}' has no files here (looked in: {looked}).",
        hint=f"Give a folder that holds {spec.folder[0]}/train.jsonl with --data or "
        f"STUDIO_DATA_DIR{fetch}.",
    )


def _is_elsewhere_by_now(choice: TaskChoice) -> bool:
    """Tell whether to look by name again: queueing wrote down a folder of another home or machine.

    What is found must have the data version that was written down with the folder.
    """
    has_name = bool(choice.dataset) or choice.name in TASKS
    return has_name and bool(choice.data_version) and not Path(choice.folder).is_dir()


def _official_folder(spec: TaskSpec, folders: Sequence[Path]) -> Path | None:
    candidates = [
        folder / suite / name
        for folder in folders
        for suite in SUITE_FOLDERS
        for name in spec.folder
    ]
    candidates += [folder for folder in folders if folder.name in spec.folder]
    return next(
        (c.resolve() for c in candidates if c.is_dir() and any(c.glob("*.jsonl"))),
        None,
    )


def _own_folder(choice: TaskChoice, folders: Sequence[Path]) -> Path:
    """Find a folder of one's own: absolute, inside a data folder, or from where one stands."""
    wanted = Path(choice.folder).expanduser()
    candidates = [] if wanted.is_absolute() else [folder / wanted for folder in folders]
    for path in (*candidates, wanted):
        if path.is_dir():
            return path.resolve()
    raise DataError(
        f"Task '{choice.name}': there is no folder {wanted.resolve()}.",
        hint="A relative folder is looked for in the folders given with --data first.",
    )


def required_file(folder: Path, stem: str, task: str) -> Path:
    """Return ``<folder>/<stem>.jsonl``.

    Raises:
        DataError: Naming the files that are there, if this one is not.
    """
    path = folder / f"{stem}.jsonl"
    if not path.is_file():
        present = ", ".join(sorted(p.name for p in folder.glob("*.jsonl"))) or "no JSONL file"
        raise DataError(
            f"Task '{task}': no {stem}.jsonl in {folder} (there: {present}).",
            hint="Training needs train.jsonl, and val.jsonl or test.jsonl to report on.",
        )
    return path


def find_files(
    choice: TaskChoice, spec: TaskSpec, folders: Sequence[Path], source: Source
) -> TaskFiles:
    """Choose the files of a task's splits.

    The official SuperGLUE test files carry no labels, so the validation file is what is reported;
    a ``test.jsonl`` beside it is only answered, for the leaderboard.

    Args:
        choice: Task of a recipe.
        spec: Its declaration.
        folders: Folders to look in.
        source: ``fewglue`` reads FewGLUE's 32 training examples in place of the official train.

    Raises:
        DataError: If a file is missing; the message says where it was looked for.
    """
    if source == "fewglue":
        found = _fewglue_files(choice, spec, folders)
    else:
        folder = locate(choice, folders)
        found = _official_files(folder, spec)
    roots = (*_around(found.folder), *folders)
    return replace(found, diagnostics=_diagnostics(choice, spec, roots))


def _official_files(folder: Path, spec: TaskSpec) -> TaskFiles:
    train = required_file(folder, "train", spec.name)
    val, test = folder / "val.jsonl", folder / HIDDEN_TEST
    if spec.suite == "superglue":
        reported = required_file(folder, "val", spec.name)
        return TaskFiles(folder, train, None, reported, hidden=test if test.is_file() else None)
    if not test.is_file():
        return TaskFiles(folder, train, None, required_file(folder, "val", spec.name))
    return TaskFiles(folder, train, val if val.is_file() else None, test)


def _around(folder: Path) -> tuple[Path, ...]:
    """Folders in which a task's folder may have relatives: its suite, and the suite's own."""
    return (folder.parent, folder.parent.parent)


def _in_fewglue(spec: TaskSpec, roots: Iterable[Path], name: str) -> Path | None:
    """Find one of a task's FewGLUE files below the roots, or in a root that is FewGLUE."""
    for root in roots:
        suites = [root / suite for suite in FEWGLUE_FOLDERS]
        suites += [root] if root.name in FEWGLUE_FOLDERS else []
        for path in (suite / folder / name for suite in suites for folder in spec.folder):
            if path.is_file():
                return path.resolve()
    return None


def _fewglue_file(choice: TaskChoice, spec: TaskSpec, roots: Sequence[Path], stem: str) -> Path:
    """Find one of a task's two FewGLUE files; ``draw: fewglue`` is 32 and 32, so both must be."""
    path = _in_fewglue(spec, roots, f"{stem}.jsonl")
    if path is None:
        looked = ", ".join(map(str, dict.fromkeys(roots))) or "no folder was given"
        raise DataError(
            f"FewGLUE's {stem}.jsonl of '{choice.name}' is not here (looked in: {looked}).",
            hint=f"Give a folder that holds fewglue/{spec.folder[0]}/{stem}.jsonl with --data or "
            "STUDIO_DATA_DIR, or draw from train: kind: few_shot, draw: sampled.",
        )
    return path


def _fewglue_files(choice: TaskChoice, spec: TaskSpec, folders: Sequence[Path]) -> TaskFiles:
    if spec.suite != "superglue" or choice.dataset:
        raise DataError(
            f"FewGLUE has no task '{choice.name}'.",
            hint="Its tasks are SuperGLUE's; elsewhere sample: kind: few_shot, draw: sampled.",
        )
    is_here = bool(choice.folder) and not _is_elsewhere_by_now(choice)
    own = _own_folder(choice, folders) if is_here else None
    official = own or _official_folder(spec, folders)
    roots = (*(_around(own) if own else ()), *folders)
    train, dev32 = (_fewglue_file(choice, spec, roots, stem) for stem in ("train", "dev32"))
    places = [place for place in (official, train.parent) if place]
    reported = next((p / "val.jsonl" for p in places if (p / "val.jsonl").is_file()), None)
    if reported is not None:
        folder = reported.parent
        hidden = folder / HIDDEN_TEST
        return TaskFiles(
            folder,
            train,
            dev32,
            reported,
            hidden=hidden if hidden.is_file() else None,
            source="fewglue",
        )
    note = "the official val.jsonl is not here, so test is FewGLUE's dev32.jsonl"
    return TaskFiles(train.parent, train, None, dev32, source="fewglue", notes=(note,))


def _diagnostics(
    choice: TaskChoice, spec: TaskSpec, roots: Sequence[Path]
) -> tuple[tuple[str, Path], ...]:
    if not choice.diagnostics:
        return ()
    if not spec.diagnostics:
        raise DataError(
            f"Task '{choice.name}' has no diagnostic sets.", hint="Leave diagnostics out."
        )
    return tuple((name, diagnostic_file(TASKS[name], roots)) for name in spec.diagnostics)


def diagnostic_file(spec: TaskSpec, roots: Sequence[Path]) -> Path:
    """Find the one file of a diagnostic set.

    Raises:
        DataError: If it is in none of the folders.
    """
    stem = next(iter(spec.counts))
    folder = _official_folder(spec, roots)
    if folder is not None and (folder / f"{stem}.jsonl").is_file():
        return folder / f"{stem}.jsonl"
    looked = ", ".join(map(str, dict.fromkeys(roots))) or "no folder was given"
    raise DataError(
        f"Diagnostic set '{spec.name}' has no file {stem}.jsonl here (looked in: {looked}).",
        hint=f"Give a folder that holds {spec.folder[0]}/{stem}.jsonl with --data, or leave "
        "diagnostics out.",
    )
