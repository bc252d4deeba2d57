"""What an added data set is, and the task that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from core.data.own.model import ColumnMapping
from core.tasks import TaskSpec

Labels = tuple[str, ...]


class DatasetCard(BaseModel):
    """What an added data set is; stands as ``card.json`` beside its files.

    Attributes:
        name: Name in recipes and folders.
        version: First 16 hexadecimal digits of ``digest``.
        title: Name for people.
        created: When it was added, with time zone.
        sources: Split to the name of the file that it came from.
        mapping: Which column was what.
        text_fields: Names of the texts in the files: ``text``, or ``text1`` and ``text2``.
        inputs: Original names of the text columns, in the same order.
        has_group: True when the files have a field ``group``.
        labels: Classes in index order.
        counts: Split (``train``, ``dev``, ``test``) to its number of rows.
        label_counts: Split to label to number of rows.
        formats: Split to the format of its file.
        encodings: Split to the encoding of its file.
        dropped: Rows left out because a text or the label was missing, a count.
        warnings: What a reader of results should know.
        notes: How the files were read and split.
        digest: Sha256 of the content.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str
    title: str
    created: datetime
    sources: Mapping[str, str]
    mapping: ColumnMapping
    text_fields: tuple[str, ...]
    inputs: tuple[str, ...]
    has_group: bool
    labels: tuple[str, ...]
    counts: Mapping[str, int]
    label_counts: Mapping[str, Mapping[str, int]]
    formats: Mapping[str, str] = {}
    encodings: Mapping[str, str] = {}
    dropped: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str


def spec_of_card(card: DatasetCard) -> TaskSpec:
    """Make the task of an added data set."""
    return spec_of_mapping(card.name, card.title, card.labels, card.mapping)


def spec_of_mapping(name: str, title: str, labels: Labels, mapping: ColumnMapping) -> TaskSpec:
    """Make the task of files that are read as a mapping says."""
    return TaskSpec(
        name=name,
        title=title,
        labels=labels,
        text_fields=mapping.text_fields,
        columns=mapping.texts,
        group_field="group" if mapping.group else "",
        metrics=("accuracy", "macro_f1"),
        suite="own",
    )
