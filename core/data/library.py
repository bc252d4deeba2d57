"""The library of people's own data sets: immutable versions in the home folder."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from core.data.dataset_card import DatasetCard
from core.data.own import shelf
from core.data.own.limited import convert_files
from core.data.own.model import (
    AS_FOUND,
    USUAL,
    ColumnMapping,
    FileProblems,
    Limits,
    Reading,
    Report,
    Sources,
)
from core.errors import ConfigError, DataError
from core.tasks import TASKS

CARD = "card.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,79}")
VERSION_DIGITS = 16
FEWEST_DIGITS = 4
VERSION = re.compile(rf"[0-9a-f]{{{VERSION_DIGITS}}}")
LATEST = "latest"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredDataset:
    """A version of a data set and where it stands.

    Attributes:
        card: What it is.
        folder: Folder with ``card.json``, ``train.jsonl``, and ``val.jsonl`` or ``test.jsonl``.
    """

    card: DatasetCard
    folder: Path


@dataclass(frozen=True)
class Added:
    """What adding gave.

    Attributes:
        dataset: The version.
        is_new: False when the same content was there already.
    """

    dataset: StoredDataset
    is_new: bool


def check_name(name: str, library: Path) -> None:
    """Refuse a name that cannot be used for a data set.

    Raises:
        ConfigError: Saying what a name may be, or what it clashes with.
    """
    if not NAME.fullmatch(name) or name.endswith((".", " ")):
        raise ConfigError(
            f"'{name[:100]}' cannot be the name of a data set.",
            field="name",
            hint="Take 1 to 80 letters, digits, blanks and . _ - , a letter or digit first and no "
            "dot or blank last.",
        )
    folded = name.casefold()
    if folded in {task.casefold() for task in TASKS}:
        raise ConfigError(
            f"'{name}' is the name of a task of the studio.", field="name", hint="Take another."
        )
    for folder in shelf.named_folders(library):
        if folder.name != name and folder.name.casefold() == folded:
            raise ConfigError(
                f"there is a data set '{folder.name}' already; only the case differs.",
                field="name",
                hint=f"Take '{folder.name}' for a new version of it, or another name.",
            )


def add_dataset(
    name: str,
    sources: Sources,
    mapping: ColumnMapping,
    library: Path,
    *,
    title: str = "",
    reading: Reading = AS_FOUND,
    limits: Limits = USUAL,
    source_names: Mapping[str, str] | None = None,
) -> Added:
    """Read files in a limited process and keep them as a version of a data set.

    The version appears under its name whole or not at all; its files are never changed.

    Args:
        name: Name in recipes.
        sources: Files by split; one file alone is ``train``.
        mapping: Which column is what.
        library: Folder of the library (``Settings.datasets_path``).
        title: Name for people; empty: the name.
        reading: How the files are to be read.
        limits: What they may hold and take.
        source_names: Names of the files for people, by split; empty: their own.

    Raises:
        ConfigError: If the name cannot be used.
        FileProblems: With every listed problem of the files; nothing is kept then.
        DataError: If reading took too much memory or time, or the disk refuses.
    """
    check_name(name, library)
    called = {split: path.name for split, path in sources.items()} | dict(source_names or {})
    try:
        with shelf.workplace(library) as folder:
            report = convert_files(sources, mapping, folder, reading, limits, names=called)
            if report.problems:
                raise FileProblems(report.problems, report.num_problems)
            card = _card(name, title, called, mapping, report)
            return _keep(card, folder, library)
    except OSError as error:
        raise DataError(
            f"The data set '{name}' could not be written: {error.strerror or error}.",
            hint=f"Is there room and permission in {library}?",
        ) from error


def _card(
    name: str, title: str, called: Mapping[str, str], mapping: ColumnMapping, report: Report
) -> DatasetCard:
    digest = _content_digest(report.digests, report.labels, mapping.texts, bool(mapping.group))
    return DatasetCard(
        name=name,
        version=digest[:VERSION_DIGITS],
        title=title.strip() or name,
        created=datetime.now(UTC),
        sources=called,
        mapping=mapping,
        text_fields=mapping.text_fields,
        inputs=mapping.texts,
        has_group=bool(mapping.group),
        labels=report.labels,
        counts=report.counts,
        label_counts=report.label_counts,
        formats=report.formats,
        encodings=report.encodings,
        dropped=report.dropped,
        warnings=report.warnings,
        notes=report.notes,
        digest=digest,
    )


def _content_digest(
    files: Mapping[str, str], labels: Sequence[str], inputs: Sequence[str], has_group: bool
) -> str:
    content = {"files": files, "labels": labels, "inputs": inputs, "group": has_group}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def version_of_files(card: DatasetCard, files: Mapping[str, str]) -> str:
    """Return the version of files (sha256 by stem) beside a card: the card's, unless changed."""
    return _content_digest(files, card.labels, card.inputs, card.has_group)[:VERSION_DIGITS]


def _keep(card: DatasetCard, folder: Path, library: Path) -> Added:
    """Move finished files to their place; the same content is kept once."""
    target = library / card.name / card.version
    if target.is_dir():
        try:
            return Added(_stored(target), is_new=False)
        except DataError as error:
            _log.warning("%s It is replaced.", error.message)
            shelf.erase(shelf.hide(target, library))
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if shelf.publish(folder, target):
        return Added(StoredDataset(card, target), is_new=True)
    return Added(_stored(target), is_new=False)


def _stored(folder: Path) -> StoredDataset:
    """Read a version's card.

    Raises:
        DataError: If it is missing or damaged.
    """
    try:
        content = (folder / CARD).read_bytes()
        return StoredDataset(DatasetCard.model_validate_json(content), folder)
    except (OSError, ValidationError) as error:
        raise DataError(
            f"The data set in {folder} cannot be used: its {CARD} is missing or damaged.",
            hint="Add the file again, or remove this version.",
        ) from error


def _versions(folder: Path) -> list[StoredDataset]:
    """Return the readable versions in the folder of one data set, the newest first."""
    found: list[StoredDataset] = []
    for version in shelf.named_folders(folder):
        if not (version / CARD).is_file():
            continue
        try:
            found.append(_stored(version))
        except DataError as error:
            _log.warning("%s", error)
    found.sort(key=lambda dataset: (dataset.card.created, dataset.card.version), reverse=True)
    return found


def list_datasets(folders: Sequence[Path]) -> list[StoredDataset]:
    """Return all versions in the data folders: by name, the newest version first."""
    found = [
        dataset
        for library in folders
        for named in shelf.named_folders(library)
        for dataset in _versions(named)
    ]
    names = [dataset.card.name.casefold() for dataset in found]
    return [found[index] for index in sorted(range(len(found)), key=names.__getitem__)]


def find_dataset(name: str, version: str, folders: Sequence[Path]) -> StoredDataset:
    """Find a version of a data set; ``latest`` is the one added last.

    Raises:
        DataError: If there is none, naming what there is.
    """
    if not NAME.fullmatch(name):
        raise _not_there(name, version, folders)
    if version == LATEST:
        found = [dataset for library in folders for dataset in _versions(library / name)]
        if found:
            return max(found, key=lambda dataset: (dataset.card.created, dataset.card.version))
    elif VERSION.fullmatch(version):
        for library in folders:
            if (library / name / version / CARD).is_file():
                return _stored(library / name / version)
    raise _not_there(name, version, folders)


def _not_there(name: str, version: str, folders: Sequence[Path]) -> DataError:
    if not NAME.fullmatch(name):
        return DataError(f"'{name[:100]}' is no name of a data set.")
    which = "" if version == LATEST else f" of version {version[:40]}"
    return DataError(f"There is no data set '{name}'{which}.", hint=_what_there_is(name, folders))


def _what_there_is(name: str, folders: Sequence[Path]) -> str:
    versions = [
        dataset.card.version for library in folders for dataset in _versions(library / name)
    ]
    if versions:
        return f"Its versions: {', '.join(versions[:10])}."
    names = sorted({dataset.card.name for dataset in list_datasets(folders)})
    if names:
        return f"There are: {', '.join(names[:20])}."
    return "Add one with `studio data add` or on the Data page."


def full_version(name: str, version: str, library: Path) -> str:
    """Write out a version that is given as ``latest``, or by at least four of its first digits.

    Raises:
        DataError: If there is none, or several begin so; names what there is.
    """
    if version == LATEST or not NAME.fullmatch(name):
        return find_dataset(name, version, [library]).card.version
    named = (folder.name for folder in shelf.named_folders(library / name))
    found = [one for one in named if VERSION.fullmatch(one) and one.startswith(version)]
    if len(version) < FEWEST_DIGITS or not found:
        raise _not_there(name, version, [library])
    if len(found) > 1:
        raise DataError(
            f"Several versions of '{name}' begin with {version}.",
            hint=f"Give more digits: {', '.join(found[:10])}.",
        )
    return found[0]


def remove_dataset(
    name: str,
    version: str,
    library: Path,
    uses: Callable[[str, str], AbstractContextManager[int]],
) -> None:
    """Delete a version that no run uses; one with a damaged card too.

    Args:
        name: Name of the data set.
        version: Its version; ``latest`` is not taken.
        library: Folder of the library.
        uses: Gives the number of runs that use (name, version), and keeps it as it is until the
            version is out of sight.

    Raises:
        DataError: If there is no such version in the library, or runs use it.
    """
    if version == LATEST:
        raise DataError(
            "Name the version that is to be removed.", hint=_what_there_is(name, [library])
        )
    if not (NAME.fullmatch(name) and VERSION.fullmatch(version)):
        raise _not_there(name, version, [library])
    try:
        with uses(name, version) as count:
            if not (library / name / version).is_dir():
                raise _not_there(name, version, [library])
            if count:
                runs = "1 run uses it" if count == 1 else f"{count:,} runs use it"
                raise DataError(
                    f"Version {version} of '{name}' stays: {runs}.",
                    hint="Results could not be checked or repeated without their data.",
                )
            hidden = shelf.hide(library / name / version, library)
        shelf.erase(hidden)
    except OSError as error:
        raise DataError(
            f"Version {version} of '{name}' could not be removed: {error.strerror or error}.",
            hint=f"Is there permission in {library}?",
        ) from error
