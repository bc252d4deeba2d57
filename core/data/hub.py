"""Official SuperGLUE tasks from the Hub, written out in the layout of the official files."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.readers import file_digest
from core.errors import DataError
from core.tasks import TASKS, TaskSpec
from core.wording import first_line

Columns = Mapping[str, Any]
Lines = Iterator[dict[str, Any]]

SUITE = "superglue"
SPLITS = {"train": "train", "validation": "val", "test": "test"}
FALSE_TRUE: Mapping[str, object] = {"False": False, "True": True}
ZERO_ONE: Mapping[str, object] = {"False": 0, "True": 1}
ENTAILMENT: Mapping[str, object] = {n: n for n in ("entailment", "not_entailment")}
LABELS: Mapping[str, Mapping[str, object]] = {
    "boolq": FALSE_TRUE,
    "cb": {n: n for n in ("entailment", "contradiction", "neutral")},
    "copa": {"choice1": 0, "choice2": 1},
    "multirc": ZERO_ONE,
    "rte": ENTAILMENT,
    "wic": FALSE_TRUE,
    "wsc": FALSE_TRUE,
    "ax-b": ENTAILMENT,
    "ax-g": ENTAILMENT,
}
"""What the official files hold for each class of the Hub; in the order in which it numbers them."""
FOLDER_REMEDY = (
    "Put the official files into a folder {folder}/ with train.jsonl and val.jsonl, and name the "
    "folder around it with --data or STUDIO_DATA_DIR."
)


@dataclass(frozen=True)
class _Labels:
    """Turns the Hub's class numbers into what the official files hold.

    Attributes:
        values: What a file holds, by class number.
    """

    values: tuple[object, ...]

    @classmethod
    def of(cls, spec: TaskSpec, split: Any) -> _Labels:
        """Read the order of the classes from the data set itself when it tells it."""
        known = LABELS.get(spec.name, {})
        names = getattr(split.features.get("label"), "names", None) or tuple(known)
        strange = [name for name in names if name not in known]
        if strange:
            raise ValueError(f"class '{strange[0]}' is none of {', '.join(known)}")
        return cls(tuple(known[name] for name in names))

    def of_row(self, row: Columns) -> dict[str, Any]:
        """The field ``label``; absent where the Hub hides it as -1."""
        value = row.get("label")
        if value is None or value == -1:
            return {}
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"label {value!r} is no class number")
        if not 0 <= value < len(self.values):
            raise ValueError(f"label {value} is none of 0 to {len(self.values) - 1}")
        return {"label": self.values[value]}


def _plain(rows: Iterable[Columns], labels: _Labels) -> Lines:
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "label"}
        yield {**fields, **labels.of_row(row)}


def _wsc(rows: Iterable[Columns], labels: _Labels) -> Lines:
    names = ("span1_index", "span1_text", "span2_index", "span2_text")
    for row in rows:
        target = {name: row[name] for name in names}
        yield {"text": row["text"], "target": target, "idx": row["idx"], **labels.of_row(row)}


def _multirc(rows: Iterable[Columns], labels: _Labels) -> Lines:
    """Gather the answers of a passage again, in the order in which they come."""
    texts: dict[int, str] = {}
    questions: dict[int, dict[int, dict[str, Any]]] = {}
    for row in rows:
        place = row["idx"]
        texts.setdefault(place["paragraph"], row["paragraph"])
        asked = questions.setdefault(place["paragraph"], {}).setdefault(
            place["question"],
            {"question": row["question"], "answers": [], "idx": place["question"]},
        )
        answer = {"text": row["answer"], "idx": place["answer"], **labels.of_row(row)}
        asked["answers"].append(answer)
    for number, words in texts.items():
        passage = {"text": words, "questions": list(questions[number].values())}
        yield {"idx": number, "passage": passage}


def _record(rows: Iterable[Columns], labels: _Labels) -> Lines:
    """Gather the queries of a passage again; an entity's last character is included."""
    del labels  # its answers are texts
    passages: dict[int, dict[str, Any]] = {}
    for row in rows:
        place, words = row["idx"], row["passage"]
        line = passages.get(place["passage"])
        if line is None:
            spans = _spans(row["entity_spans"], words)
            line = {"idx": place["passage"], "passage": {"text": words, "entities": spans}}
            line["qas"] = []
            passages[place["passage"]] = line
        query = {"query": row["query"], "idx": place["query"]}
        answers = [{"text": answer} for answer in row.get("answers") or ()]
        line["qas"].append({**query, **({"answers": answers} if answers else {})})
    yield from passages.values()


def _spans(columns: Mapping[str, Any], words: str) -> list[dict[str, int]]:
    found = []
    for text, start in zip(columns["text"], columns["start"], strict=True):
        if words[start : start + len(text)] != text:
            raise ValueError(f"entity '{text}' does not stand at {start} of its passage")
        found.append({"start": start, "end": start + len(text) - 1})
    return found


LAYOUTS: Mapping[str, Callable[[Iterable[Columns], _Labels], Lines]] = {
    "wsc": _wsc,
    "multirc": _multirc,
    "record": _record,
}


def fetch(task: str, home: Path, *, offline: bool, repository: str = "") -> Path:
    """Write a task of the Hub into the home folder in the official layout.

    The files stand under ``<home>/<repository>/<digest of the files>/``, complete or not at all,
    and ``<home>/superglue/<TASK>`` points to the newest ones, where tasks are found by name.

    Args:
        task: Name of a task that the Hub has.
        home: Folder of fetched data sets (``Settings.hub_path``).
        offline: Refuse to ask the Hub; a repository that is a folder here is read all the same.
        repository: Another repository, or a folder, in place of the usual one.

    Returns:
        The folder with the files.

    Raises:
        DataError: If the task is not on the Hub, the Hub must not or cannot be asked, or its
            columns are others.
    """
    spec = TASKS.get(task)
    if spec is None or not spec.hub:
        known = ", ".join(sorted(s.name for s in TASKS.values() if s.hub))
        raise DataError(f"'{task}' is no task of the Hub; those are {known}.")
    usual, config = spec.hub.split(":")
    source = repository or usual
    remedy = FOLDER_REMEDY.format(folder=spec.folder[0])
    if offline and not Path(source).is_dir():
        raise DataError(f"{spec.title} is not fetched: the studio is offline.", hint=remedy)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=home) as scratch:
        written = Path(scratch) / "files"
        written.mkdir()
        splits = _load(source, config, Path(scratch) / "cache", spec, remedy)
        _write(splits, spec, written)
        return _keep(written, home, source, spec)


def _load(source: str, config: str, cache: Path, spec: TaskSpec, remedy: str) -> Mapping[str, Any]:
    """Ask ``datasets``, which is heavy and needed here only."""
    datasets = importlib.import_module("datasets")
    http_error: type[Exception] = importlib.import_module("httpx").HTTPError
    base: type[Exception] = importlib.import_module("datasets.exceptions").DatasetsError
    datasets.disable_progress_bars()
    try:
        loaded: Mapping[str, Any] = datasets.load_dataset(source, config, cache_dir=str(cache))
    except (OSError, ValueError, RuntimeError, base, http_error) as error:
        reason = first_line(error)[:200]
        raise DataError(
            f"{spec.title} could not be fetched from {source} ({config}): {reason}.",
            hint=remedy,
        ) from error
    return loaded


def _write(splits: Mapping[str, Any], spec: TaskSpec, folder: Path) -> None:
    stems = {"test": next(iter(spec.counts))} if spec.suite == "diagnostic" else SPLITS
    missing = [name for name in stems if name not in splits and name != "test"]
    if missing or not any(name in splits for name in stems):
        raise DataError(
            f"The repository has no split {' or '.join(missing or stems)} of {spec.title} "
            f"(there: {', '.join(splits) or 'none'}).",
            hint="Name another repository with --from.",
        )
    layout = LAYOUTS.get(spec.name, _plain)
    for name, stem in stems.items():
        if name not in splits:
            continue
        try:
            with (folder / f"{stem}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                for line in layout(splits[name], _Labels.of(spec, splits[name])):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"Split {name} of {spec.title} has other columns than expected: {error}.",
                hint="Name another repository with --from.",
            ) from error


def _keep(written: Path, home: Path, source: str, spec: TaskSpec) -> Path:
    """Move finished files to their place by content, and let the task's name point there."""
    parts = [f"{path.name}:{file_digest(path)}" for path in sorted(written.iterdir())]
    digest = hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "--", source).strip("-.") or "repository"
    folder = home / slug / digest / spec.folder[0]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            written.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster with the same files
                raise
    pointer = home / SUITE / spec.folder[0]
    pointer.parent.mkdir(parents=True, exist_ok=True)
    fresh = written.parent / "pointer"
    fresh.symlink_to(os.path.relpath(folder, pointer.parent), target_is_directory=True)
    if pointer.is_dir() and not pointer.is_symlink():
        shutil.rmtree(pointer)
    fresh.replace(pointer)
    return folder
