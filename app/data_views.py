"""What the studio will make of a data set: lengths, few-shot draws, and a batch of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from core.backbones.facts import weights_folder
from core.backbones.spec import BACKBONES, BackboneChoice
from core.data.examples import Example, Segments, TaskData
from core.data.tasks import candidates, read_task
from core.data.tokens import LENGTH_CLASSES, TextTokenizer, length_class
from core.errors import DataError, InputError
from core.recipe_parts import TaskChoice
from core.regimes import REGIMES, RegimeConfig
from core.settings import Settings

MOST_SAMPLED = 2000
MOST_BINS = 32
MOST_BATCH = 32
MOST_DRAWN = 64
LONGEST_SHOWN = 240


@dataclass(frozen=True)
class Asked:
    """What to look at.

    Attributes:
        task: Which data set, version and template.
        backbone: Name in the table of backbones; its tokenizer cuts the texts.
        max_tokens: Tokens of an input at most, special ones counted.
    """

    task: TaskChoice
    backbone: str = "minilm"
    max_tokens: int = 128


@dataclass(frozen=True)
class Bar:
    """Inputs of a range of lengths: ``low`` to ``high`` tokens, both included."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """How long the inputs of train are.

    Attributes:
        bars: The histogram, from short to long.
        sampled: Examples that were measured; the first and last and evenly between.
        examples: Examples of train.
        inputs: Inputs of the sample: more than ``sampled`` where an example has several choices.
        median: Tokens of the middle input.
        high: Tokens that 95 of 100 inputs do not exceed.
        longest: Tokens of the longest input.
        max_tokens: Where longer inputs are cut.
        cut: Inputs of the sample that are cut.
        backbone: Whose tokenizer counted.
    """

    bars: tuple[Bar, ...]
    sampled: int
    examples: int
    inputs: int
    median: int
    high: int
    longest: int
    max_tokens: int
    cut: int
    backbone: str


@dataclass(frozen=True)
class Drawn:
    """One drawn example: its texts, shortened, and its label."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class DrawView:
    """What a regime draws from train with one data seed.

    Attributes:
        regime: Short name of the regime.
        seed: Data seed.
        counts: Drawn training examples by label.
        total: Drawn training examples.
        dev: Size of the dev split that goes with them.
        again: Of these examples, those that the next data seed draws as well; None where that
            seed can draw none.
        examples: The first of them.
    """

    regime: str
    seed: int
    counts: tuple[tuple[str, int], ...]
    total: int
    dev: int
    again: int | None
    examples: tuple[Drawn, ...]


@dataclass(frozen=True)
class Token:
    """One token: its text, its segment (0 or 1), and whether the tokenizer added it."""

    text: str
    segment: int
    special: bool


@dataclass(frozen=True)
class InputRow:
    """One row of a batch.

    Attributes:
        tokens: Tokens that the model reads.
        padding: Padding tokens after them.
        total: Tokens of the whole text; more than are used when it was cut.
        label: Label of the example; of a choice whether it is right.
        example: Number of the example in the batch, from 1.
    """

    tokens: tuple[Token, ...]
    padding: int
    total: int
    label: str
    example: int


@dataclass(frozen=True)
class BatchView:
    """The first examples of a drawn train split as a batch.

    Attributes:
        rows: Rows in order.
        length: Length class that all rows are padded to.
        used: Tokens that are not padding.
        backbone: Whose tokenizer made them.
    """

    rows: tuple[InputRow, ...]
    length: int
    used: int
    backbone: str


def lengths(settings: Settings, asked: Asked) -> Lengths:
    """Measure the inputs of train, a sample of them where there are many.

    Raises:
        DataError: If the files cannot be read.
        BackboneError: If the tokenizer is not here.
    """
    data = _data(settings, asked)
    # The recorded version keeps a changed file from being answered with old lengths.
    key = asked.task.model_copy(update={"data_version": data.version})
    counted = _counted(key, asked.backbone, settings.data_folders, settings.offline)
    return _summary(counted, len(data.train), asked.backbone, asked.max_tokens)


def measure(
    inputs: Sequence[Segments], examples: int, backbone: str, max_tokens: int, *, offline: bool
) -> Lengths:
    """Measure inputs that are in no data set yet.

    Args:
        inputs: A sample of them.
        examples: How many there are in all.
        backbone: Whose tokenizer counts.
        max_tokens: Where longer inputs will be cut.
        offline: Never ask a hub for the tokenizer.

    Raises:
        BackboneError: If the tokenizer is not here.
    """
    rows = [Example((segments,), 0, "") for segments in inputs]
    return _summary(_count(rows, backbone, offline), examples, backbone, max_tokens)


def sample_places(count: int) -> list[int]:
    """Choose which of so many examples are measured: the first, the last and evenly between."""
    if count <= MOST_SAMPLED:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, MOST_SAMPLED).round()]


def histogram(counted: Sequence[int], max_tokens: int) -> tuple[Bar, ...]:
    """Count lengths in ranges of equal width; one range ends exactly at ``max_tokens``."""
    if not counted:
        return ()
    longest = max(counted)
    width = max(1, -(-longest // MOST_BINS))
    # Shifted, so that no range holds both whole and cut inputs.
    first = max_tokens % width
    places = Counter(-(-(length - first) // width) for length in counted)
    low, high = min(places), max(places)
    return tuple(
        Bar(max(1, first + (place - 1) * width + 1), first + place * width, places[place])
        for place in range(low, high + 1)
    )


def draw(settings: Settings, asked: Asked, regime: RegimeConfig, seed: int) -> DrawView:
    """Draw training examples as a run with this regime and data seed would.

    Raises:
        DataError: If the files cannot be read, or there are too few examples.
    """
    data = _data(settings, asked, regime)
    pool = candidates(data)
    chosen = regime.select(pool, seed)
    try:
        again = len(set(chosen.train) & set(regime.select(pool, seed + 1).train))
    except DataError:
        again = None
    counts = Counter(label_of(data.labels, data.train[index]) for index in chosen.train)
    known = [(label, counts.pop(label)) for label in data.labels if label in counts]
    return DrawView(
        regime=regime.label,
        seed=seed,
        counts=(*known, *sorted(counts.items())),
        total=len(chosen.train),
        dev=len(data.dev) if chosen.dev is None else len(chosen.dev),
        again=again,
        examples=tuple(_drawn(data, data.train[index]) for index in chosen.train[:MOST_DRAWN]),
    )


def batch(
    settings: Settings, asked: Asked, regime: RegimeConfig, seed: int, size: int
) -> BatchView:
    """Tokenise the first examples of a drawn train split and pad them to one length class.

    Raises:
        DataError: If the files cannot be read, or there are too few examples.
        BackboneError: If the tokenizer is not here.
    """
    data = _data(settings, asked, regime)
    chosen = regime.select(candidates(data), seed).train[: min(size, MOST_BATCH)]
    tokenizer = _tokenizer(asked.backbone, settings.offline)
    found = []
    for number, index in enumerate(chosen, start=1):
        example = data.train[index]
        for place, row in enumerate(example.rows):
            encoding = tokenizer.encode(row, asked.max_tokens)
            tokens = tuple(
                Token(text, segment, special)
                for text, segment, special in zip(
                    encoding.tokens, encoding.types, encoding.special, strict=True
                )
            )
            label = _row_label(data, example, place)
            found.append(InputRow(tokens, 0, encoding.total, label, number))
    length = length_class(max((len(row.tokens) for row in found), default=1))
    rows = tuple(
        InputRow(row.tokens, length - len(row.tokens), row.total, row.label, row.example)
        for row in found
    )
    return BatchView(rows, length, sum(len(row.tokens) for row in rows), asked.backbone)


def regime_of(values: dict[str, Any]) -> RegimeConfig:
    """Make a regime from its fields, as a recipe does.

    Raises:
        InputError: If a field is wrong.
    """
    kind = str(values.get("kind", "full_data"))
    if kind not in REGIMES:
        raise InputError(f"There is no regime {kind}.", hint=f"There are {', '.join(REGIMES)}.")
    try:
        return REGIMES[kind].model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {first['msg']}") from error


def label_of(labels: Sequence[str], example: Example) -> str:
    """Name an example's label: its class, or the first right choice."""
    if 0 <= example.label < len(labels):
        return labels[example.label]
    return f"choice {example.label + 1}" if example.label >= 0 else "hidden"


def shorten(text: str, most: int = LONGEST_SHOWN) -> str:
    """Cut a text for a list; the cut is marked."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _drawn(data: TaskData, example: Example) -> Drawn:
    texts = tuple(shorten(segment) for segment in example.rows[0])
    return Drawn(texts, label_of(data.labels, example))


def _row_label(data: TaskData, example: Example, place: int) -> str:
    if data.kind == "classes":
        return label_of(data.labels, example)
    return "right" if place in example.right else "wrong"


def _data(settings: Settings, asked: Asked, regime: RegimeConfig | None = None) -> TaskData:
    source = regime.source if regime else "official"
    return read_task(asked.task, settings.data_folders, source=source)


@lru_cache(maxsize=8)
def _tokenizer(backbone: str, offline: bool) -> TextTokenizer:
    if backbone not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise InputError(f"There is no backbone named {backbone}.", hint=f"There are {known}.")
    return TextTokenizer(weights_folder(BackboneChoice(name=backbone), offline))


@lru_cache(maxsize=64)
def _counted(
    task: TaskChoice, backbone: str, folders: tuple[Path, ...], offline: bool
) -> tuple[int, ...]:
    train = read_task(task, folders).train
    return _count([train[place] for place in sample_places(len(train))], backbone, offline)


def _count(examples: Sequence[Example], backbone: str, offline: bool) -> tuple[int, ...]:
    """Tokens of each input, special ones counted, uncut up to the largest length class."""
    split = _tokenizer(backbone, offline).encode_all(examples, LENGTH_CLASSES[-1])
    return tuple(int(length) for length in split.lengths)


def _summary(counted: Sequence[int], examples: int, backbone: str, max_tokens: int) -> Lengths:
    return Lengths(
        bars=histogram(counted, max_tokens),
        sampled=min(examples, MOST_SAMPLED),
        examples=examples,
        inputs=len(counted),
        median=int(np.median(counted)) if counted else 0,
        high=int(np.percentile(counted, 95, method="higher")) if counted else 0,
        longest=max(counted, default=0),
        max_tokens=max_tokens,
        cut=sum(length > max_tokens for length in counted),
        backbone=backbone,
    )
