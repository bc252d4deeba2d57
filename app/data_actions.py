"""Adding and deleting data sets of one's own, for page, API and command line alike."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from app.data_views import Lengths, measure, sample_places, shorten
from app.quarantine import Incoming, Quarantine, Upload
from core.data import library
from core.data.dataset_card import spec_of_mapping
from core.data.library import Added
from core.data.own.limited import convert_files, inspect_file
from core.data.own.model import (
    ENCODINGS,
    STEMS,
    ColumnMapping,
    Inspection,
    OnMissing,
    Reading,
    Report,
)
from core.data.splits import dev_share
from core.data.tasks import size_of_dev
from core.errors import DataError, InputError
from core.methods import Part
from core.settings import Settings
from core.store.datasets import hold_runs

if TYPE_CHECKING:
    from core.store.session import Store

SHOWN_EXAMPLES = 5
PREVIEW_BACKBONE = "minilm"
PREVIEW_TOKENS = 128
MOST_CUT = 50_000


class Choices(Part):
    """How a person wants an uploaded file to be read, and what to call it."""

    encoding: str = Field(default="", max_length=20)
    delimiter: str = Field(default="", max_length=1)
    quotes: bool = True
    texts: tuple[str, ...] = Field(default=(), max_length=2)
    label: str = ""
    split: str = ""
    group: str = ""
    on_missing: OnMissing = "abort"
    name: str = Field(default="", max_length=80)

    @property
    def reading(self) -> Reading:
        """How the file is to be read."""
        return Reading(self.encoding, self.delimiter, self.quotes)

    def mapping(self) -> ColumnMapping:
        """Which column is what.

        Raises:
            InputError: If text or label is not chosen, or a column has two roles.
        """
        missing = [
            what for what, value in (("text", self.texts), ("label", self.label)) if not value
        ]
        if missing:
            raise InputError(
                f"No column is chosen as {' and '.join(missing)}.",
                hint="Choose what each column is.",
            )
        used = [name for name in (*self.texts, self.label, self.split, self.group) if name]
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            raise InputError(f"Column '{twice[0]}' has two roles.", hint="Choose one for each.")
        return ColumnMapping(
            self.texts,
            self.label,
            split=self.split,
            group=self.group,
            on_missing=self.on_missing,
        )


@dataclass(frozen=True)
class UploadView:
    """An upload, what its file holds, and what is chosen so far.

    Attributes:
        upload: The upload.
        inspection: What the file holds, or what is wrong with it.
        choices: Chosen by the person, else guessed.
        encodings: Encodings that can be chosen.
    """

    upload: Upload
    inspection: Inspection
    choices: Choices
    encodings: tuple[str, ...] = ENCODINGS


@dataclass(frozen=True)
class ReadExample:
    """One row as it was read: its texts, shortened, and its label."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class UploadPreview:
    """What would become of an upload.

    Attributes:
        report: Counts, labels, warnings, or the problems.
        examples: First training examples.
        lengths: How long the training examples are; None when there are problems.
        cut_dev: How many rows of train dev will take; 0 where the file has a dev of its own. Of
            many rows the usual share.
    """

    report: Report
    examples: tuple[ReadExample, ...] = ()
    lengths: Lengths | None = None
    cut_dev: int = 0


@contextmanager
def receive(settings: Settings, file_name: str) -> Iterator[tuple[str, Incoming]]:
    """Receive a file into quarantine; see ``Quarantine.receive``."""
    with Quarantine(settings.home_path).receive(file_name) as incoming:
        yield incoming


def waiting(settings: Settings) -> tuple[Upload, ...]:
    """List uploads that were neither added nor thrown away."""
    return Quarantine(settings.home_path).waiting()


def clean_uploads(settings: Settings) -> int:
    """Throw away uploads that nobody touched for a day; return how many."""
    return Quarantine(settings.home_path).clean()


def discard_all(settings: Settings) -> int:
    """Throw away all uploads that wait; return how many."""
    quarantine = Quarantine(settings.home_path)
    waiting = quarantine.waiting()
    for upload in waiting:
        quarantine.discard(upload.id)
    return len(waiting)


def discard(settings: Settings, upload_id: str) -> None:
    """Throw an upload away."""
    Quarantine(settings.home_path).discard(upload_id)


def look(settings: Settings, upload_id: str, choices: Choices | None = None) -> UploadView:
    """Tell what an uploaded file holds, read as chosen; the choices are kept with it.

    Raises:
        NotFound: If the upload is gone.
        DataError: If reading took too much memory or time.
    """
    quarantine = Quarantine(settings.home_path)
    upload = quarantine.open(upload_id)
    chosen = choices or Choices.model_validate(upload.choices)
    inspection = inspect_file(upload.path, chosen.reading, name=upload.file_name)
    if not chosen.texts and not chosen.label:
        chosen = guess(inspection, chosen)
    chosen = _only_present(chosen, inspection)
    if chosen.model_dump(mode="json") != dict(upload.choices):
        quarantine.remember(upload, chosen.model_dump(mode="json"))
    return UploadView(upload, inspection, chosen)


def guess(inspection: Inspection, choices: Choices) -> Choices:
    """Fill in what the file's column names and values suggest."""

    def first(names: Iterable[str]) -> str:
        return next(iter(names), "")

    return choices.model_copy(
        update={
            "texts": inspection.columns_for("text")[:2],
            "label": first(inspection.columns_for("label")),
            "split": first(inspection.columns_for("split")),
            "group": first(inspection.columns_for("group")),
            "name": choices.name or name_from(inspection.file),
        }
    )


def name_from(file_name: str) -> str:
    """Make a name for a data set from a file's: ``My Reviews (2).csv`` gives ``my-reviews-2``."""
    stem = Path(file_name).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "my-data"


def preview(settings: Settings, upload_id: str, choices: Choices) -> UploadPreview:
    """Convert an upload as chosen, and throw the result away after looking at it.

    Raises:
        NotFound: If the upload is gone.
        InputError: If text or label is not chosen.
        DataError: If reading took too much memory or time, or the disk refuses.
    """
    quarantine = Quarantine(settings.home_path)
    upload = quarantine.open(upload_id)
    quarantine.remember(upload, choices.model_dump(mode="json"))
    mapping = choices.mapping()
    try:
        with tempfile.TemporaryDirectory(dir=upload.path.parent, prefix="preview-") as folder:
            report = convert_files(
                {"train": upload.path},
                mapping,
                Path(folder),
                choices.reading,
                names={"train": upload.file_name},
            )
            if report.num_problems:
                return UploadPreview(report)
            return _look_at(settings, Path(folder), choices, report)
    except OSError as error:
        raise DataError(
            f"{upload.file_name} could not be looked at: {error.strerror or error}.",
            hint="Is there room on the disk? If it was discarded meanwhile, choose it again.",
        ) from error


def add(settings: Settings, upload_id: str, choices: Choices) -> Added:
    """Keep an upload as a version of a data set, and clear it from quarantine.

    Raises:
        NotFound: If the upload is gone.
        InputError: If text or label is not chosen.
        ConfigError: If the name cannot be used.
        FileProblems: With every listed problem of the file; nothing is kept then.
    """
    quarantine = Quarantine(settings.home_path)
    upload = quarantine.open(upload_id)
    quarantine.remember(upload, choices.model_dump(mode="json"))
    added = library.add_dataset(
        choices.name,
        {"train": upload.path},
        choices.mapping(),
        settings.datasets_path,
        reading=choices.reading,
        source_names={"train": upload.file_name},
    )
    quarantine.discard(upload_id)
    return added


def remove(store: Store, settings: Settings, name: str, version: str) -> None:
    """Delete a version of a data set that no run uses.

    Raises:
        DataError: If there is no such version, or runs use it; says how many.
        StoreError: If the database refuses.
    """
    library.remove_dataset(name, version, settings.datasets_path, partial(hold_runs, store))


def _only_present(choices: Choices, inspection: Inspection) -> Choices:
    """Forget columns that the file, read in another way, does not have."""
    names = {column.name for column in inspection.columns}
    if not names:
        return choices
    kept: dict[str, Any] = {
        role: value if value in names else ""
        for role in ("label", "split", "group")
        for value in (getattr(choices, role),)
    }
    return choices.model_copy(
        update={**kept, "texts": tuple(name for name in choices.texts if name in names)}
    )


def _look_at(settings: Settings, folder: Path, choices: Choices, report: Report) -> UploadPreview:
    mapping = choices.mapping()
    path, count = folder / f"{STEMS['train']}.jsonl", report.counts["train"]
    rows = list(_rows_at(path, set(sample_places(count)) | set(range(SHOWN_EXAMPLES))))
    inputs = [tuple(str(row[name]) for name in mapping.text_fields) for row in rows]
    examples = tuple(
        ReadExample(tuple(shorten(text) for text in texts), str(row["label"]))
        for texts, row in zip(inputs[:SHOWN_EXAMPLES], rows, strict=False)
    )
    return UploadPreview(
        report,
        examples,
        measure(inputs, count, PREVIEW_BACKBONE, PREVIEW_TOKENS, offline=settings.offline),
        _dev_of(path, choices, report),
    )


def _dev_of(train: Path, choices: Choices, report: Report) -> int:
    """Count what dev will take of train, by the rule that runs are read with."""
    count = report.counts["train"]
    if report.counts.get("dev"):
        return 0
    if count > MOST_CUT:
        return round(dev_share(count) * count)
    name = choices.name
    return size_of_dev(spec_of_mapping(name, name, report.labels, choices.mapping()), train)


def _rows_at(path: Path, places: set[int]) -> Iterator[dict[str, Any]]:
    """Read some lines of a normalised file; the others are not parsed."""
    with path.open("rb") as lines:
        for place, line in enumerate(lines):
            if place in places:
                yield json.loads(line)
