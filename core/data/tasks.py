"""From a task choice in a recipe to examples in three splits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.data.dataset_card import DatasetCard, spec_of_card
from core.data.examples import Example, ExtraSet, TaskData
from core.data.library import find_dataset, version_of_files
from core.data.places import TaskFiles, find_files, locate, required_file
from core.data.readers import UNKNOWN, file_digest, iterate_rows, labels_of, read_rows, to_examples
from core.data.splits import NUM_FOLDS, cut_dev, cut_fold, find_families
from core.data.words import words_of
from core.errors import DataError
from core.recipe import Selection
from core.recipe_parts import TaskChoice
from core.regimes import Candidates
from core.regimes._config import Source
from core.tasks import TASKS, TaskSpec

__all__ = [
    "candidates", "locate", "read_task", "resolve", "size_of_dev", "spec_of", "split_sizes",
]  # fmt: skip

LEADERBOARD = "leaderboard"
FEWGLUE_LINES = 32
KNOWN_FIELDS = (
    ("text",),
    ("sentence",),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "passage"),
)


def spec_of(choice: TaskChoice, folders: Sequence[Path] = ()) -> TaskSpec:
    """Return the declared task, or one made from a data set's card or a folder's own fields.

    Raises:
        DataError: If the files are missing, or their text fields cannot be told.
    """
    if choice.dataset:
        return spec_of_card(find_dataset(choice.name, choice.dataset, folders).card)
    if choice.name in TASKS and not choice.text_fields:
        return TASKS[choice.name]
    fields = choice.text_fields or _usual_fields(choice, locate(choice, folders))
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


def _usual_fields(choice: TaskChoice, folder: Path) -> tuple[str, ...]:
    train = required_file(folder, "train", choice.name)
    first = next((row.fields for row in iterate_rows(train)), {})
    found = [names for names in KNOWN_FIELDS if all(name in first for name in names)]
    if not found:
        raise DataError(
            f"Task '{choice.name}': train.jsonl has the fields {', '.join(sorted(first))}, "
            "none of which is a usual text field.",
            hint="Name them with text_fields.",
        )
    return found[0]


@dataclass(frozen=True)
class _Read:
    """All files of a task as examples, before train is cut."""

    labels: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...] | None
    test: tuple[Example, ...]
    extra: tuple[ExtraSet, ...]
    version: str
    notes: tuple[str, ...]


@lru_cache(maxsize=8)
def _read(
    choice: TaskChoice,
    files: TaskFiles,
    stamps: tuple[tuple[str, int, int], ...],
    folders: tuple[Path, ...],
) -> _Read:
    del stamps  # part of the cache key only: a changed file is read again
    spec = spec_of(choice, folders)
    rows = {path: read_rows(path) for path in {files.train, files.test, files.dev} if path}
    labels = labels_of(rows[files.train], spec, files.train)
    read = {
        path: to_examples(found, spec, labels, path, template=choice.template)
        for path, found in rows.items()
    }
    extra = [_diagnostic(name, path, choice.template) for name, path in files.diagnostics]
    notes = [*files.notes, *_card_notes(choice, folders)]
    for path, found in rows.items():
        notes += _size_notes(spec, files, path, len(found), len(read[path]))
    if files.hidden is not None:
        unlabelled = _hidden_test(files.hidden, spec, labels, choice.template)
        if isinstance(unlabelled, str):
            notes.append(unlabelled)
        else:
            extra.append(unlabelled)
    return _Read(
        labels=labels,
        train=read[files.train],
        dev=read[files.dev] if files.dev else None,
        test=read[files.test],
        extra=tuple(extra),
        version=_version(choice, files, folders),
        notes=tuple(sorted(notes)),
    )


def _version(choice: TaskChoice, files: TaskFiles, folders: Sequence[Path]) -> str:
    """Digest of what is trained on and scored; of an added data set its version."""
    digests = [(path, file_digest(path)) for path in files.scored]
    if choice.dataset:
        card = find_dataset(choice.name, choice.dataset, folders).card
        return version_of_files(card, {path.stem: digest for path, digest in digests})
    content = "|".join(f"{path.name}:{digest}" for path, digest in digests)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _card_notes(choice: TaskChoice, folders: Sequence[Path]) -> tuple[str, ...]:
    """What a reader of results should know about an added data set."""
    if not choice.dataset:
        return ()
    return find_dataset(choice.name, choice.dataset, folders).card.warnings


def _size_notes(
    spec: TaskSpec, files: TaskFiles, path: Path, num_lines: int, num_examples: int
) -> list[str]:
    if files.source == "fewglue" and path.stem != "val":
        if num_lines == FEWGLUE_LINES:
            return []
        return [f"{path.name} has {num_lines:,} lines, FewGLUE's has {FEWGLUE_LINES}"]
    official = spec.counts.get(path.stem, num_examples)
    if num_examples == official:
        return []
    return [f"{path.name} has {num_examples:,} examples, officially {official:,}"]


def _diagnostic(name: str, path: Path, template: str) -> ExtraSet:
    spec = TASKS[name]
    examples = read_diagnostic(spec, path, template)
    return ExtraSet(name, spec.title, examples, spec.metrics, file_digest(path)[:16])


def read_diagnostic(spec: TaskSpec, path: Path, template: str = "") -> tuple[Example, ...]:
    """Read a diagnostic set; what its metric pairs must stand in pairs with one hypothesis.

    Raises:
        DataError: Naming the line of a fault, or the pair that is none.
    """
    known = template if template in spec.template_names else ""
    examples = to_examples(read_rows(path), spec, spec.labels, path, template=known)
    pairs: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.question:
            pairs[example.question].append(example)
    broken = [name for name, members in pairs.items() if len(members) != 2]
    if broken:
        raise DataError(
            f"{path.name}: line number {2 * int(broken[0])} (idx) has no partner in its pair.",
            hint=f"{spec.title} consists of pairs: idx 0 and 1, 2 and 3, and so on.",
        )
    return examples


def _hidden_test(
    path: Path, spec: TaskSpec, labels: tuple[str, ...], template: str
) -> ExtraSet | str:
    """Read the official test file, or say why it is left out; it never stops a training."""
    try:
        rows = read_rows(path)
        examples = to_examples(rows, spec, labels, path, template=template, hidden=True)
    except DataError as error:
        return f"{path.name} is left out of the leaderboard answers: {error}"
    if any(example.label != UNKNOWN for example in examples):
        return (
            f"{path.name} is not read: it has labels, and SuperGLUE's official test file has none"
        )
    return ExtraSet(
        LEADERBOARD, f"{spec.title}, official test", examples, (), file_digest(path)[:16]
    )


@lru_cache(maxsize=64)
def _split(
    choice: TaskChoice,
    files: TaskFiles,
    stamps: tuple[tuple[str, int, int], ...],
    folders: tuple[Path, ...],
    selection: Selection,
    fold: int,
) -> TaskData:
    spec = spec_of(choice, folders)
    read = _read(choice, files, stamps, folders)
    train, dev, dev_source = _cut(choice.name, files, read, selection, fold)
    notes = read.notes
    if files.source == "fewglue" and files.dev is None and selection == "dev":
        shares = f"{len(train)} of FewGLUE's {len(read.train)} train, {len(dev)} are dev"
        dev_source = f"{dev_source}: {shares}"
        notes = (*notes, f"{shares}, {files.test.stem} is test")
    if not train or not (dev or selection == "refit"):
        raise DataError(
            f"Task '{choice.name}': {len(train)} training and {len(dev)} dev examples are left "
            "after splitting.",
            hint="Give more examples, or a val.jsonl beside test.jsonl.",
        )
    return TaskData(
        name=choice.name,
        title=spec.title,
        labels=read.labels,
        train=train,
        dev=dev,
        test=read.test,
        metrics=spec.metrics,
        version=read.version,
        test_source=files.test.name,
        dev_source=dev_source,
        notes=notes,
        kind=spec.kind,
        template=choice.template or spec.template_names[0],
        inputs=spec.columns or spec.typed_fields,
        extra={found.name: found for found in read.extra},
        words=words_of(choice, spec, read.labels),
    )


def _cut(
    name: str, files: TaskFiles, read: _Read, selection: Selection, fold: int
) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Return train, dev and what dev is."""
    source = files.train.name
    if selection == "paper_practice":
        return read.train, read.test, files.test.name
    if selection == "refit":
        return read.train, (), f"none: a refit on all of {source}"
    if selection == "fold":
        return *cut_fold(read.train, name, fold), f"fold {fold + 1} of {NUM_FOLDS} of {source}"
    if read.dev is not None and files.dev is not None:
        return read.train, read.dev, files.dev.name
    return *cut_dev(read.train, name), f"cut from {source}"


def read_task(
    choice: TaskChoice,
    folders: Sequence[Path] = (),
    *,
    selection: Selection = "dev",
    fold: int = 0,
    source: Source = "official",
) -> TaskData:
    """Read a task and split it; repeated calls read unchanged files once.

    The version is a digest of the files of train, dev, test and diagnostics, of an added data set
    its own version; the official test file, of which nothing is measured, is no part of it, nor is
    the template.

    Args:
        choice: Task of a recipe.
        folders: Folders to look in when the task has no folder of its own.
        selection: ``dev``; ``paper_practice``: all of train is trained on and dev is the reported
            split itself; ``fold``: dev is one of five folds of train; ``refit``: dev is empty.
        fold: Which fold, 0 to 4.
        source: ``fewglue`` trains on FewGLUE's 32 examples; dev is then FewGLUE's dev32, and test
            the official validation file. Where that file is missing, test is dev32 and dev is cut
            from the 32, as ``dev_source`` and a note say.

    Raises:
        DataError: If files are missing or wrong, or differ from the recorded version.
    """
    spec = spec_of(choice, folders)
    if spec.suite == "diagnostic":
        trained = ", ".join(t.name for t in TASKS.values() if spec.name in t.diagnostics)
        raise DataError(
            f"Task '{choice.name}' is a diagnostic set and is never trained on.",
            hint=f"Choose {trained} with diagnostics: true.",
        )
    if choice.template and choice.template not in spec.template_names:
        raise DataError(
            f"Task '{choice.name}' has no template '{choice.template}'.",
            hint=f"Choose one of {', '.join(spec.template_names)}.",
        )
    files = find_files(choice, spec, folders, source)
    plain = choice.model_copy(update={"data_version": ""})
    data = _split(plain, files, files.stamps, tuple(folders), selection, fold)
    if choice.data_version and choice.data_version != data.version:
        raise DataError(
            f"Task '{choice.name}': the files in {files.folder} changed since the run was queued "
            f"(version {data.version}, expected {choice.data_version}).",
            hint="Restore the files, or queue the run anew.",
        )
    return data


def split_sizes(card: DatasetCard, folders: Sequence[Path]) -> Mapping[str, int]:
    """Count an added data set's splits as runs use them: dev cut from train where it has none.

    Files that no run could use are counted as they are.
    """
    try:
        return dict(_split_sizes(card.name, card.version, tuple(folders)))
    except DataError:
        return card.counts


@lru_cache(maxsize=256)
def _split_sizes(name: str, version: str, folders: tuple[Path, ...]) -> tuple[tuple[str, int], ...]:
    # A version never changes, so its sizes are kept where its examples are not.
    data = read_task(TaskChoice(name=name, dataset=version), folders)
    return tuple((split, len(data.split(split))) for split in ("train", "dev", "test"))


def size_of_dev(spec: TaskSpec, train: Path) -> int:
    """Count what a task without a dev of its own would cut from its training file.

    Raises:
        DataError: If the file is not what the task reads.
    """
    return len(cut_dev(to_examples(read_rows(train), spec, spec.labels, train), spec.name)[1])


def candidates(data: TaskData) -> Candidates:
    """Return the training examples as a regime sees them, the same ones under every template."""
    keys = [example.draw_key for example in data.train]
    counts = Counter(keys)
    return Candidates(
        labels=[example.label for example in data.train],
        # Examples that only a place in the text tells apart (WSC) are told apart by their number.
        keys=[
            key if counts[key] == 1 else f"{key}|{example.id}"
            for key, example in zip(keys, data.train, strict=True)
        ],
        groups=find_families(data.train).of_examples(),
        num_labels=len(data.labels),
        names=data.labels,
    )


def resolve(
    choice: TaskChoice, folders: Sequence[Path] = (), *, source: Source = "official"
) -> TaskChoice:
    """Fill in what a queued run records: folder, data set version, template and data version.

    Bundled tasks keep an empty folder: they travel with the program; so do added data sets, which
    are found by name and version.

    Raises:
        DataError: If files are missing or wrong.
    """
    spec = spec_of(choice, folders)
    data = read_task(choice, folders, source=source)
    update = {"data_version": data.version, "template": data.template}
    if choice.dataset:
        found = find_dataset(choice.name, choice.dataset, folders)
        return choice.model_copy(update={**update, "dataset": found.card.version})
    is_bundled = spec.suite == "bundled" and not choice.folder
    files = find_files(choice, spec, folders, source)
    return choice.model_copy(update={**update, "folder": "" if is_bundled else str(files.folder)})
