"""One data set as the page and programs show it: splits, labels, notes, and its examples."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.data_list import VersionRow, file_names, version_rows
from app.data_views import label_of, shorten
from core.data import library
from core.data.dataset_card import DatasetCard, spec_of_card
from core.data.examples import Example, TaskData
from core.data.library import StoredDataset
from core.data.places import diagnostic_file, locate
from core.data.readers import iterate_rows, raw_label
from core.data.render import render
from core.data.tasks import read_diagnostic, read_task, spec_of
from core.errors import DataError, InputError, NotFound
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.store.datasets import runs_by_data
from core.store.session import Store
from core.tasks import TASKS, TaskSpec
from core.wording import counted

EXAMPLES_AT_ONCE = 3
LONGEST_FIELD = 1500
MOST_ROWS_SHOWN = 4
DATASHEET = "DATASHEET.md"


@dataclass(frozen=True)
class Split:
    """One split of a set.

    Attributes:
        name: ``train``, ``dev`` or ``test``.
        examples: Its size.
        source: File that it was read or cut from.
        counts: Examples by label.
    """

    name: str
    examples: int
    source: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Detail:
    """Everything of one set but what needs a tokenizer.

    Attributes:
        name: Name in recipes.
        title: Name for people.
        suite: Where it belongs to, as in ``TaskSpec``.
        version: Version of an added set; empty for others.
        data_version: Digest of the files' content; empty when they cannot be read.
        kind: ``classes`` or ``choices``.
        labels: Classes in index order.
        splits: The three splits as runs use them; empty when the files cannot be read.
        extra: Title and size of the sets that are scored once at the end.
        metrics: Names of the metrics, the first selects.
        templates: Names of the templates, the default first.
        template: The chosen one.
        files: Names of the files whose examples can be looked at.
        notes: What a reader of the numbers should know.
        note: What the task itself says.
        source: Paper or origin.
        datasheet: Text of the datasheet; may be empty.
        runs: Runs that use this set, of an added set this version.
        versions: All versions of an added set.
        error: Why the files cannot be read; empty when they can.
        hint: What to do about it.
        can_train: True when runs can be queued with it.
    """

    name: str
    title: str
    suite: str
    version: str
    data_version: str
    kind: str
    labels: tuple[str, ...]
    splits: tuple[Split, ...]
    extra: tuple[tuple[str, int], ...]
    metrics: tuple[str, ...]
    templates: tuple[str, ...]
    template: str
    files: tuple[str, ...]
    notes: tuple[str, ...]
    note: str
    source: str
    datasheet: str
    runs: int
    versions: tuple[VersionRow, ...]
    error: str
    hint: str
    can_train: bool


@dataclass(frozen=True)
class Rendering:
    """Rows of an example under one template; of many choices only the first rows."""

    template: str
    rows: tuple[tuple[str, ...], ...]
    hidden_rows: int


@dataclass(frozen=True)
class ShownExample:
    """One example of a file.

    Attributes:
        number: Its place in the file, from 1.
        line: Its line, from 1; several examples may share one.
        fields: Name and text of its fields, as the file has them.
        renderings: What a backbone reads, for each template.
    """

    number: int
    line: int
    fields: tuple[tuple[str, str], ...]
    renderings: tuple[Rendering, ...]


def choice_of(name: str, version: str = "", template: str = "") -> TaskChoice:
    """Name a set as a recipe does.

    Args:
        name: Known task or added data set.
        version: Version of an added set; empty: a known task, else the latest version.
        template: Name of a template; empty: the default.

    Raises:
        NotFound: If this can be the name of no set.
        InputError: If the task has no such template.
    """
    is_added = bool(version) or name not in TASKS
    if not is_added and template and template not in TASKS[name].template_names:
        names = ", ".join(TASKS[name].template_names)
        raise InputError(f"{name} has no template {template}.", hint=f"There are {names}.")
    try:
        return TaskChoice(
            name=name, dataset=(version or "latest") if is_added else "", template=template
        )
    except ValueError as error:
        raise _unknown(name) from error


def detail(store: Store, settings: Settings, choice: TaskChoice) -> Detail:
    """Describe one set; files that cannot be read are told in ``error``.

    Raises:
        NotFound: If there is no such set.
    """
    with store.read() as session:
        used = runs_by_data(session)
    stored = _stored(settings, choice)
    card = stored[0].card if stored else None
    spec = spec_of_card(card) if card else TASKS[choice.name]
    data, problem = _read(settings, choice)
    folder = _folder(settings, choice)
    related = library.list_datasets(settings.data_folders) if card else []
    return Detail(
        name=choice.name,
        title=spec.title,
        suite=spec.suite,
        version=card.version if card else "",
        data_version=data.version if data else "",
        kind=spec.kind,
        labels=data.labels if data else spec.labels,
        splits=_splits(settings, spec, data),
        extra=tuple((one.title, len(one.examples)) for one in data.extra.values()) if data else (),
        metrics=spec.metrics,
        templates=spec.template_names,
        template=choice.template or spec.template_names[0],
        files=file_names(folder) if folder else (),
        # A card's notes are among those of its examples too.
        notes=tuple(dict.fromkeys((*(data.notes if data else ()), *_card_notes(card)))),
        note=spec.note,
        source=_origin(card) if card else spec.source,
        datasheet=_datasheet(folder),
        runs=used.get((choice.name, card.version if card else ""), 0),
        versions=version_rows(
            [one for one in related if one.card.name == choice.name], used, settings
        ),
        error=problem.message if problem else "",
        hint=problem.hint if problem else "",
        can_train=data is not None,
    )


def examples(
    settings: Settings, choice: TaskChoice, file: str, at: int
) -> tuple[ShownExample, ...]:
    """Read a few examples of a file, with what each template makes of them.

    Args:
        settings: Folders to look in.
        choice: The set.
        file: Name of one of its files.
        at: Number of the first example, from 0.

    Raises:
        NotFound: If there is no such file.
        DataError: If its lines are not what the set needs.
    """
    folder = locate(choice, settings.data_folders)
    if file not in file_names(folder):
        raise NotFound(f"{choice.name} has no file {file}.")
    spec = spec_of(choice, settings.data_folders)
    found = itertools.islice(_flat(folder / file, spec), at, at + EXAMPLES_AT_ONCE)
    return tuple(
        ShownExample(
            number=at + place,
            line=line,
            fields=tuple((name, _text_of(value)) for name, value in fields.items()),
            renderings=tuple(_rendering(spec, fields, name) for name in spec.template_names),
        )
        for place, (line, fields) in enumerate(found, start=1)
    )


def _flat(path: Path, spec: TaskSpec) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line and fields of each example of a file, read only as far as asked for."""
    for row in iterate_rows(path):
        try:
            for fields in spec.flatten(row.fields):
                yield row.line, fields
        except ValueError as error:
            raise DataError(f"{path.name}, line {row.line}: {error}.") from error


def _rendering(spec: TaskSpec, fields: Mapping[str, Any], template: str) -> Rendering:
    try:
        rows = render(spec, fields, template)
    except (KeyError, ValueError) as error:
        raise DataError(f"Template {template} cannot be filled: {error}.") from error
    shown = tuple(
        tuple(shorten(segment, LONGEST_FIELD) for segment in row) for row in rows[:MOST_ROWS_SHOWN]
    )
    return Rendering(template, shown, len(rows) - len(shown))


def _text_of(value: object) -> str:
    text = (
        raw_label(value)
        if not isinstance(value, (list, tuple, dict))
        else json.dumps(value, ensure_ascii=False)
    )
    return shorten(text, LONGEST_FIELD)


def _stored(settings: Settings, choice: TaskChoice) -> list[StoredDataset]:
    """The chosen version of an added set; none for a known task."""
    if not choice.dataset:
        return []
    try:
        return [library.find_dataset(choice.name, choice.dataset, settings.data_folders)]
    except DataError as error:
        raise NotFound(error.message, hint=error.hint) from error


def _read(settings: Settings, choice: TaskChoice) -> tuple[TaskData | None, DataError | None]:
    try:
        return read_task(choice, settings.data_folders), None
    except DataError as error:
        return None, error


def _folder(settings: Settings, choice: TaskChoice) -> Path | None:
    try:
        return locate(choice, settings.data_folders)
    except DataError:
        return None


def _splits(settings: Settings, spec: TaskSpec, data: TaskData | None) -> tuple[Split, ...]:
    if data is not None:
        sources = {"train": "train.jsonl", "dev": data.dev_source, "test": data.test_source}
        return tuple(
            _split(name, data.split(name), data.labels, source) for name, source in sources.items()
        )
    if spec.suite != "diagnostic":
        return ()
    try:
        path = diagnostic_file(spec, settings.data_folders)
        return (_split("diagnostic", read_diagnostic(spec, path), spec.labels, path.name),)
    except DataError:
        return ()


def _split(name: str, found: Sequence[Example], labels: Sequence[str], source: str) -> Split:
    counts = Counter(label_of(labels, example) for example in found)
    known = {label: counts.pop(label, 0) for label in labels}
    return Split(name, len(found), source, {**known, **dict(sorted(counts.items()))})


def _card_notes(card: DatasetCard | None) -> tuple[str, ...]:
    if card is None:
        return ()
    dropped = (
        (f"left out: {counted(card.dropped, 'row')} without text or label",) if card.dropped else ()
    )
    return (*card.warnings, *dropped, *card.notes)


def _origin(card: DatasetCard) -> str:
    texts = " and ".join(f"'{name}'" for name in card.inputs)
    return (
        f"{', '.join(card.sources.values())}: text from {texts}, label from '{card.mapping.label}'"
    )


def _datasheet(folder: Path | None) -> str:
    path = folder / DATASHEET if folder else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no data set named {name}.", hint="Data lists all of them.")
