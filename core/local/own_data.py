"""Adding and removing people's own data sets from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import make_url

from core.data.library import Added, add_dataset, check_name, full_version, remove_dataset
from core.data.own.limited import inspect_file
from core.data.own.model import ColumnMapping, FileProblems, Inspection, Reading
from core.data.tasks import split_sizes
from core.errors import ConfigError, DataError
from core.local.report import console
from core.settings import get_settings
from core.store.datasets import hold_runs
from core.store.migrate import require_head
from core.store.session import Store
from core.wording import counted

SHOWN_SAMPLE = 50
MOST_TEXTS = 2
OPTIONS = {
    "Choose the encoding": "Name the encoding, for example --encoding windows-1252",
    "Choose another encoding": "Name another with --encoding",
    "choose utf-16-le as encoding": "give --encoding utf-16-le",
    "choose utf-16-be as encoding": "give --encoding utf-16-be",
    "Choose utf-16-le or utf-16-be as encoding": "Give --encoding utf-16-le or utf-16-be",
    "say that quotes mean nothing": "give --no-quotes",
}
"""What hints say of a choice on a page, and the option for it."""


@dataclass(frozen=True)
class Request:
    """What a person asked to add.

    Attributes:
        name: Name of the data set.
        files: Files by split.
        texts: Named text columns; empty: guessed.
        label: Named label column; empty: guessed.
        split: Named split column; empty: guessed when there is one file.
        group: Named group column; empty: none.
        title: Name for people.
        encoding: Named encoding.
        delimiter: Named delimiter; ``\\\\t`` and ``tab`` stand for a tab.
        quotes: False where double quotes are ordinary characters.
        drop_missing: True to leave out rows without a text or label.
    """

    name: str
    files: Mapping[str, Path]
    texts: tuple[str, ...] = ()
    label: str = ""
    split: str = ""
    group: str = ""
    title: str = ""
    encoding: str = ""
    delimiter: str = ""
    quotes: bool = True
    drop_missing: bool = False

    @property
    def reading(self) -> Reading:
        """How the files are to be read."""
        delimiter = "\t" if self.delimiter in ("tab", "\\t") else self.delimiter
        return Reading(self.encoding, delimiter, self.quotes)


def add(request: Request) -> int:
    """Inspect a file, map its columns, add it and tell what came of it.

    Raises:
        ConfigError: If the name cannot be used, or a column must be named.
        DataError: If the files cannot be used, with every listed problem.
    """
    try:
        return _add(request)
    except FileProblems as error:
        named = tuple(replace(one, hint=_with_options(one.hint)) for one in error.problems)
        raise FileProblems(named, error.num_problems) from error


def _with_options(hint: str) -> str:
    """Write how a command line says what a page lets a person choose."""
    for words, options in OPTIONS.items():
        hint = hint.replace(words, options)
    return hint


def _add(request: Request) -> int:
    out, library = console(), get_settings().datasets_path
    check_name(request.name, library)
    for path in request.files.values():
        if not path.expanduser().is_file():
            raise DataError(f"There is no file {path}.")
    files = {split: path.expanduser().resolve() for split, path in request.files.items()}
    mapping = ColumnMapping(
        request.texts,
        request.label,
        request.split,
        group=request.group,
        on_missing="drop" if request.drop_missing else "abort",
    )
    if not (request.texts and request.label):
        found = inspect_file(files["train"], request.reading)
        if not found.is_usable:
            raise FileProblems(found.problems, found.num_problems)
        out.print(_columns(found))
        mapping = _guessed(mapping, found, is_alone=len(files) == 1)
    _tell(out, f"columns: {_mapping_text(mapping)}")
    added = add_dataset(
        request.name, files, mapping, library, title=request.title, reading=request.reading
    )
    _report(out, added)
    return 0


def _guessed(mapping: ColumnMapping, found: Inspection, *, is_alone: bool) -> ColumnMapping:
    """Fill in the columns that were not named, where there is no doubt.

    Raises:
        ConfigError: Naming the columns that there are.
    """
    taken = {*mapping.texts, mapping.label, mapping.split, mapping.group}

    def guess(role: str) -> tuple[str, ...]:
        return tuple(
            column.name
            for column in found.columns
            if column.role == role and column.name not in taken
        )

    texts = mapping.texts or guess("text")
    label = mapping.label or next(iter(guess("label")), "")
    split = mapping.split or (next(iter(guess("split")), "") if is_alone else "")
    if not texts or not label:
        what = "the text (--text)" if not texts else "the label (--label)"
        names = ", ".join(f"'{column.name}'" for column in found.columns)
        raise ConfigError(
            f"{found.file}: it is not clear which column is {what}.", hint=f"Columns: {names}."
        )
    return ColumnMapping(
        texts[:MOST_TEXTS], label, split, group=mapping.group, on_missing=mapping.on_missing
    )


def _mapping_text(mapping: ColumnMapping) -> str:
    parts = [f"text = {' + '.join(repr(name) for name in mapping.texts)}"]
    parts.append(f"label = {mapping.label!r}")
    parts += [f"split = {mapping.split!r}"] if mapping.split else []
    parts += [f"group = {mapping.group!r}"] if mapping.group else []
    return ", ".join(parts)


def _columns(found: Inspection) -> Table:
    table = Table(
        title=escape("; ".join([f"{found.file}: {counted(found.num_rows, 'row')}", *found.notes])),
        title_justify="left",
    )
    for heading in ("column", "taken as", "different", "longest", "missing", "first value"):
        table.add_column(heading, overflow="fold")
    for column in found.columns:
        more = "over " if column.distinct_is_capped else ""
        table.add_row(
            escape(column.name),
            column.role or column.refused or "–",
            f"{more}{column.distinct:,}",
            f"{column.longest:,}",
            f"{column.missing:,}",
            escape(column.samples[0][:SHOWN_SAMPLE]) if column.samples else "",
        )
    return table


def _report(out: Console, added: Added) -> None:
    card = added.dataset.card
    what = "added" if added.is_new else "was there already, with the same content"
    counts = ", ".join(f"{split} {count:,}" for split, count in card.counts.items())
    _tell(out, f"{card.name}, version {card.version}: {what}.")
    _tell(out, f"rows: {counts}; labels: {', '.join(card.labels)}")
    sizes = split_sizes(card, [added.dataset.folder.parent.parent])
    if sizes != card.counts:
        _tell(out, f"as used: {', '.join(f'{split} {size:,}' for split, size in sizes.items())}")
    if card.dropped:
        _tell(out, f"left out: {counted(card.dropped, 'row')} without a text or label")
    for note in card.notes:
        _tell(out, f"note: {note}")
    for warning in card.warnings:
        _tell(out, f"warning: {warning}")
    _tell(out, f'next: in a recipe, tasks: [{{name: "{card.name}", dataset: latest}}]')


def _tell(out: Console, text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def remove(name: str, version: str) -> int:
    """Delete a version that no run uses.

    Args:
        name: Name of the data set.
        version: Its version, the first digits of it, or ``latest``.

    Raises:
        DataError: If there is no such version, several begin so, or runs use it.
        StoreError: If the database refuses.
    """
    settings = get_settings()
    version = full_version(name, version, settings.datasets_path)
    remove_dataset(name, version, settings.datasets_path, _uses)
    _tell(console(), f"{name}, version {version}: removed.")
    return 0


@contextmanager
def _uses(name: str, version: str) -> Iterator[int]:
    """Count the runs that use a version; without a database there are none."""
    url = get_settings().sqlalchemy_url
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite" and not Path(parts.database or "").is_file():
        yield 0
        return
    require_head(url)
    with hold_runs(Store(url), name, version) as count:
        yield count
