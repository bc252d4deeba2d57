"""The list of data sets: official ones with their counts, bundled ones, and those people added."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from core.data import library
from core.data.library import StoredDataset
from core.data.places import HIDDEN_TEST, find_files, locate
from core.data.readers import iterate_rows
from core.data.tasks import split_sizes
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.store.datasets import runs_by_data
from core.store.session import Store
from core.tasks import TASKS, TaskSpec

SetState = Literal["official", "derived", "partial", "absent", "faulty", "here"]
SPLIT_ORDER = ("train", "val", "test")
SPLIT_WORDS = {"val": "validation", "AX-b": "examples", "AX-g": "examples"}


@dataclass(frozen=True)
class FileRow:
    """One file of a known set.

    Attributes:
        file: Its name.
        split: What it is, for people.
        count: Examples in it; None when it is not there or cannot be read.
        official: Examples that it should have; None where nothing official says.
    """

    file: str
    split: str
    count: int | None
    official: int | None


@dataclass(frozen=True)
class KnownRow:
    """A set that the studio knows by name.

    Attributes:
        name: Name in recipes.
        title: Name for people.
        suite: Where it belongs to, as in ``TaskSpec``.
        state: ``official``: all files are there with the official counts; ``derived``: so are
            files made from official ones; ``partial``: some are missing, or have other counts;
            ``absent``: none is there; ``faulty``: a file cannot be read; ``here``: nothing
            official to compare with.
        files: Its files.
        notes: What is wrong, or can be used in place of what is missing.
        runs: Runs that use it.
    """

    name: str
    title: str
    suite: str
    state: SetState
    files: tuple[FileRow, ...]
    notes: tuple[str, ...]
    runs: int


@dataclass(frozen=True)
class VersionRow:
    """One version of an added data set.

    Attributes:
        version: Its version.
        title: Name for people.
        added_at: When it was added.
        source: Names of the files that it came from.
        counts: Split to examples, as runs use them.
        num_labels: Number of classes.
        warnings: What a reader of results should know.
        runs: Runs that use it.
        is_latest: True for the one that ``latest`` names.
    """

    version: str
    title: str
    added_at: str
    source: str
    counts: Mapping[str, int]
    num_labels: int
    warnings: tuple[str, ...]
    runs: int
    is_latest: bool


@dataclass(frozen=True)
class OwnRow:
    """An added data set with its versions, the newest first."""

    name: str
    versions: tuple[VersionRow, ...]


def known_sets(store: Store, settings: Settings) -> tuple[KnownRow, ...]:
    """List the sets that the studio knows by name, with what is there of each."""
    with store.read() as session:
        used = runs_by_data(session)
    by_title = sorted(TASKS.values(), key=lambda spec: spec.title.casefold())
    return tuple(_known(spec, settings, used.get((spec.name, ""), 0)) for spec in by_title)


def own_sets(store: Store, settings: Settings) -> tuple[OwnRow, ...]:
    """List the data sets that people added."""
    with store.read() as session:
        used = runs_by_data(session)
    found = library.list_datasets(settings.data_folders)
    return tuple(
        OwnRow(name, version_rows(list(stored), used, settings))
        for name, stored in itertools.groupby(found, key=lambda one: one.card.name)
    )


def file_names(folder: Path) -> tuple[str, ...]:
    """Names of the JSONL files of a set: train, val and test first."""
    known = {f"{stem}.jsonl": place for place, stem in enumerate(SPLIT_ORDER)}
    found = (path.name for path in folder.glob("*.jsonl"))
    return tuple(sorted(found, key=lambda name: (known.get(name, len(known)), name)))


def version_rows(
    stored: Sequence[StoredDataset], used: Mapping[tuple[str, str], int], settings: Settings
) -> tuple[VersionRow, ...]:
    """Describe the versions of one set; the newest comes first."""
    return tuple(
        VersionRow(
            version=one.card.version,
            title=one.card.title,
            added_at=one.card.created.isoformat(),
            source=", ".join(one.card.sources.values()),
            counts=split_sizes(one.card, settings.data_folders),
            num_labels=len(one.card.labels),
            warnings=one.card.warnings,
            runs=used.get((one.card.name, one.card.version), 0),
            is_latest=place == 0,
        )
        for place, one in enumerate(stored)
    )


def _known(spec: TaskSpec, settings: Settings, runs: int) -> KnownRow:
    try:
        folder = locate(TaskChoice(name=spec.name), settings.data_folders)
    except DataError:
        folder = None
    rows: list[FileRow] = []
    notes: list[str] = []
    for stem, official in _stems(spec, folder).items():
        name = f"{stem}.jsonl"
        count = None
        if folder is not None and (folder / name).is_file():
            stat = (folder / name).stat()
            counted = _count(spec.name, folder / name, stat.st_mtime_ns, stat.st_size)
            if isinstance(counted, str):
                notes.append(counted)
            else:
                count = counted
        rows.append(FileRow(name, SPLIT_WORDS.get(stem, stem), count, official))
    state = "faulty" if notes else _state(spec, rows)
    if state in ("absent", "partial") and _has_fewglue(spec, settings):
        notes.append("FewGLUE's fixed 32 examples are here, for few-shot runs")
    return KnownRow(spec.name, spec.title, spec.suite, state, tuple(rows), tuple(notes), runs)


def _stems(spec: TaskSpec, folder: Path | None) -> Mapping[str, int | None]:
    """Stems of the files that are shown, with their official counts."""
    if not spec.counts:
        return {Path(name).stem: None for name in file_names(folder)} if folder else {}
    # Nobody trains on the unlabelled test file or reports on it, so its absence is no news.
    hidden = Path(HIDDEN_TEST).stem if spec.suite == "superglue" else ""
    has_hidden = folder is not None and (folder / HIDDEN_TEST).is_file()
    return {stem: n for stem, n in spec.counts.items() if stem != hidden or has_hidden}


def _state(spec: TaskSpec, files: Sequence[FileRow]) -> SetState:
    present = [file for file in files if file.count is not None]
    if not present:
        return "absent"
    if all(file.official is None for file in files):
        return "here"
    if any(file.count != file.official for file in files):
        return "partial"
    return "derived" if spec.derived_from else "official"


@lru_cache(maxsize=256)
def _count(task: str, path: Path, changed_ns: int, size: int) -> int | str:
    """Count a file's examples without keeping them; a text says why it cannot be read."""
    del changed_ns, size  # part of the cache key only: a changed file is counted again
    spec = TASKS[task]
    place = path.name
    try:
        total = 0
        for row in iterate_rows(path):
            place = f"{path.name}, line {row.line}"
            total += len(spec.flatten(row.fields))
    except DataError as error:
        return error.message
    except ValueError as error:
        return f"{place}: {error}."
    return total


def _has_fewglue(spec: TaskSpec, settings: Settings) -> bool:
    if spec.suite != "superglue":
        return False
    try:
        find_files(TaskChoice(name=spec.name), spec, settings.data_folders, "fewglue")
    except DataError:
        return False
    return True
