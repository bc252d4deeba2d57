"""From a task choice in a recipe to examples in three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from core.data.examples import TaskData
from core.data.readers import file_digest, labels_of, read_rows, to_examples
from core.data.splits import cut_dev
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.tasks import TASKS, TaskSpec

BUNDLED_FOLDER = Path(__file__).parent.parent / "tasks" / "bundled"
SUITE_FOLDERS = ("", "superglue", "SuperGLUE")
KNOWN_FIELDS = (
    ("text",),
    ("sentence",),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "passage"),
)


def locate(choice: TaskChoice, folders: Sequence[Path] = ()) -> Path:
    """Find the folder of a task's files.

    Args:
        choice: Task of a recipe; its own folder wins.
        folders: Folders with a suite, or with one task, in order.

    Raises:
        DataError: Naming every folder looked in and what to do.
    """
    if choice.folder:
        return _own_folder(choice, folders)
    spec = TASKS[choice.name]
    if spec.suite == "bundled":
        return BUNDLED_FOLDER / spec.folder[0]
    candidates = [
        folder / suite / name
        for folder in folders
        for suite in SUITE_FOLDERS
        for name in spec.folder
    ]
    candidates += [folder for folder in folders if folder.name in spec.folder]
    for candidate in candidates:
        if candidate.is_dir() and any(candidate.glob("*.jsonl")):
            return candidate.resolve()
    looked = ", ".join(str(folder) for folder in folders) or "no folder was given"
    raise DataError(
        f"Task '{choice.name}' has no files here (looked in: {looked}).",
        hint=f"Give a folder that holds {spec.folder[0]}/train.jsonl with --data or "
        "STUDIO_DATA_DIR.",
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


def spec_of(choice: TaskChoice, folder: Path) -> TaskSpec:
    """Return the declared task, or one made from a plain folder's own fields."""
    if choice.name in TASKS and not choice.text_fields:
        return TASKS[choice.name]
    fields = choice.text_fields
    if not fields:
        first = read_rows(_required(folder, "train", choice.name))[0].fields
        found = [names for names in KNOWN_FIELDS if all(name in first for name in names)]
        if not found:
            raise DataError(
                f"Task '{choice.name}': train.jsonl has the fields {', '.join(sorted(first))}, "
                "none of which is a usual text field.",
                hint="Name them with text_fields.",
            )
        fields = found[0]
    if len(fields) > 2:
        raise DataError(f"Task '{choice.name}': text_fields may name one or two fields.")
    return TaskSpec(
        name=choice.name,
        title=choice.name,
        labels=(),
        text_fields=fields,
        group_field=choice.group_field,
        label_field=choice.label_field,
        metrics=("accuracy", "macro_f1"),
        suite="own",
    )


def _required(folder: Path, stem: str, task: str) -> Path:
    path = folder / f"{stem}.jsonl"
    if not path.is_file():
        present = ", ".join(sorted(p.name for p in folder.glob("*.jsonl"))) or "no JSONL file"
        raise DataError(
            f"Task '{task}': no {stem}.jsonl in {folder} (there: {present}).",
            hint="Training needs train.jsonl, and val.jsonl or test.jsonl to report on.",
        )
    return path


def _files(folder: Path, spec: TaskSpec) -> tuple[Path, Path | None, Path]:
    """Files of train, dev (None: cut from train) and test."""
    train = _required(folder, "train", spec.name)
    val, test = folder / "val.jsonl", folder / "test.jsonl"
    # The official SuperGLUE test files carry no labels, so the validation file is what is reported.
    if spec.suite == "superglue" or not test.is_file():
        return train, None, _required(folder, "val", spec.name)
    return train, (val if val.is_file() else None), test


def _notes(spec: TaskSpec, counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(
        f"{stem}.jsonl has {counts[stem]:,} examples, officially {official:,}"
        for stem, official in spec.counts.items()
        if stem in counts and counts[stem] != official
    )


@lru_cache(maxsize=64)
def _read(
    choice: TaskChoice, folder: Path, stamps: tuple[tuple[str, int, int], ...], selection: str
) -> TaskData:
    del stamps  # part of the cache key only: a changed file is read again
    spec = spec_of(choice, folder)
    train_path, dev_path, test_path = _files(folder, spec)
    train_rows = read_rows(train_path)
    labels = labels_of(train_rows, spec, train_path)
    train = to_examples(train_rows, spec, labels, train_path)
    test = to_examples(read_rows(test_path), spec, labels, test_path)
    counts = {train_path.stem: len(train), test_path.stem: len(test)}
    if selection == "paper_practice":
        dev, dev_source = test, test_path.name
    elif dev_path is not None:
        dev, dev_source = to_examples(read_rows(dev_path), spec, labels, dev_path), dev_path.name
        counts[dev_path.stem] = len(dev)
    else:
        train, dev = cut_dev(train, spec.name)
        dev_source = f"cut from {train_path.name}"
    if not train or not dev:
        raise DataError(
            f"Task '{choice.name}': {len(train)} training and {len(dev)} dev examples are left "
            "after splitting.",
            hint="Give more examples, or a val.jsonl beside test.jsonl.",
        )
    paths = sorted({train_path, test_path, *([dev_path] if dev_path else [])})
    content = "|".join(f"{path.name}:{file_digest(path)}" for path in paths)
    return TaskData(
        name=choice.name,
        title=spec.title,
        labels=labels,
        train=train,
        dev=dev,
        test=test,
        metrics=spec.metrics,
        version=hashlib.sha256(content.encode()).hexdigest()[:16],
        test_source=test_path.name,
        dev_source=dev_source,
        notes=_notes(spec, counts),
    )


def read_task(
    choice: TaskChoice, folders: Sequence[Path] = (), *, selection: str = "dev"
) -> TaskData:
    """Read a task and split it; repeated calls read unchanged files once.

    Args:
        choice: Task of a recipe.
        folders: Folders to look in when the task has no folder of its own.
        selection: ``dev``, or ``paper_practice`` where all of train is trained on and dev is the
            reported split itself.

    Raises:
        DataError: If files are missing or wrong, or differ from the recorded version.
    """
    folder = locate(choice, folders)
    stamps = tuple(
        (path.name, path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.glob("*.jsonl"))
    )
    data = _read(choice.model_copy(update={"data_version": ""}), folder, stamps, selection)
    if choice.data_version and choice.data_version != data.version:
        raise DataError(
            f"Task '{choice.name}': the files in {folder} changed since the run was queued "
            f"(version {data.version}, expected {choice.data_version}).",
            hint="Restore the files, or queue the run anew.",
        )
    return data


def resolve(choice: TaskChoice, folders: Sequence[Path] = ()) -> TaskChoice:
    """Fill in the absolute folder and the data version, as a queued run records them.

    Bundled tasks keep an empty folder: they travel with the program.
    """
    folder = locate(choice, folders)
    bundled = choice.name in TASKS and TASKS[choice.name].suite == "bundled" and not choice.folder
    data = read_task(choice, folders)
    return choice.model_copy(
        update={"folder": "" if bundled else str(folder), "data_version": data.version}
    )
