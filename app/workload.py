"""What the runs of a recipe have to do: examples, updates, and lengths of their texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.draws import draw
from app.estimate import Load
from app.submission import backbone_facts
from core.backbones.facts import weights_folder
from core.backbones.spec import BackboneChoice
from core.data.examples import Segments, TaskData
from core.data.tasks import read_task
from core.data.tokens import TextTokenizer
from core.errors import BackboneError, DataError
from core.methods import BackboneFacts
from core.recipe import Cell, Recipe
from core.recipe_parts import TaskChoice
from core.regimes import RegimeConfig, Source
from core.settings import Settings
from core.stepping import examples_an_update

SAMPLE = 256
UNKNOWN_TRAIN, UNKNOWN_DEV = 1000, 200

DataOf = Mapping[tuple[str, Source], TaskData | None]


@dataclass(frozen=True)
class Lengths:
    """Lengths of a task's rows under a backbone's tokenizer.

    Attributes:
        mean: Tokens of a row, cut at the longest input.
        cut_share: Share of the rows that are cut, 0 to 1.
    """

    mean: float
    cut_share: float


@dataclass(frozen=True)
class Part:
    """One task's part of a cell.

    Attributes:
        data: The task; None where its files cannot be read.
        num_train: Examples that are drawn from train.
        num_dev: Examples of dev.
    """

    data: TaskData | None
    num_train: int
    num_dev: int

    @property
    def rows(self) -> float:
        """Rows an example on average: one, or one a choice."""
        if self.data is None:
            return 1.0
        sample = self.data.train[:SAMPLE]
        return sum(len(example.rows) for example in sample) / len(sample)


def read_all(recipe: Recipe, settings: Settings) -> DataOf:
    """Read every task of a recipe from every source that its regimes use."""
    return {
        (choice.name, regime.source): _data_or_none(recipe, number, regime.source, settings)
        for number, choice in enumerate(recipe.tasks)
        for regime in recipe.regimes
    }


def _data_or_none(
    recipe: Recipe, number: int, source: Source, settings: Settings
) -> TaskData | None:
    try:
        return read_task(
            recipe.tasks[number],
            settings.data_folders,
            selection=recipe.selection,
            source=source,
        )
    except DataError:
        return None


def facts_or_none(choice: BackboneChoice) -> BackboneFacts | None:
    """Sizes of a backbone; None where they are not known without a hub."""
    try:
        return backbone_facts(choice, offline=True)
    except BackboneError:
        return None


def part_of(
    recipe: Recipe, choice: TaskChoice, data: TaskData | None, regime: RegimeConfig
) -> Part:
    """Draw as a run with the first data seed would, and count."""
    if data is None:
        return Part(None, UNKNOWN_TRAIN, UNKNOWN_DEV)
    try:
        drawn = draw(choice, data, regime, recipe.seeds.data[0], selection=recipe.selection)
    except DataError:
        return Part(data, len(data.train), len(data.dev))
    return Part(data, len(drawn.train), len(data.dev if drawn.dev is None else drawn.dev))


def loads(recipe: Recipe, data: DataOf) -> Iterator[Load]:
    """Describe the work of each cell of the grid."""
    training, tuning = recipe.training, recipe.tuning
    trials = tuning.trials * tuning.folds if tuning.protocol == "tuned" else 0
    repeats = len(recipe.seeds.data) * len(recipe.seeds.init) + trials
    parts = {
        (choice.name, regime): part_of(recipe, choice, data[choice.name, regime.source], regime)
        for regime in dict.fromkeys(cell.regime for cell in recipe.cells())
        for choice in recipe.tasks
    }
    for cell in recipe.cells():
        # In the order of the names, as training shares the updates out.
        found = {
            task.name: parts[task.name, cell.regime]
            for task in sorted((cell.task, *cell.partners), key=lambda task: task.name)
        }
        sizes = [part.num_train for part in found.values()]
        batch = examples_an_update(training, cell.method)
        total = training.updates_for(sum(sizes), batch=batch)
        shares = cell.regime.updates_of(sizes, total)
        updates = dict(zip(found, shares, strict=True))
        trained = list(found) if cell.regime.is_joint else [cell.task.name]
        yield _load(
            recipe,
            cell,
            {name: found[name] for name in trained},
            [updates[name] for name in trained],
            repeats,
        )


def _load(
    recipe: Recipe,
    cell: Cell,
    by_name: Mapping[str, Part],
    updates: Sequence[int],
    repeats: int,
) -> Load:
    training, parts = recipe.training, list(by_name.values())
    batch = examples_an_update(training, cell.method)
    total = sum(updates)
    names = [task.name for task in (cell.task, *cell.partners) if task.name in by_name]

    def mean(values: Sequence[float]) -> float:
        return sum(n * value for n, value in zip(updates, values, strict=True)) / total

    lengths = [sample_lengths(part.data, cell.backbone, training.max_tokens) for part in parts]
    tokens = [found.mean if found else training.max_tokens / 2 for found in lengths]
    return Load(
        task="+".join(names),
        backbone=cell.backbone.label,
        method_kind=cell.method.kind,
        max_tokens=training.max_tokens,
        batch_size=min(batch, max(part.num_train for part in parts)),
        passes=cell.method.passes,
        prompt_length=cell.method.prompt_length,
        updates=total,
        repeats=repeats,
        tokens=mean(tokens) + cell.method.prompt_length,
        rows=mean([part.rows for part in parts]),
        facts=facts_or_none(cell.backbone),
        num_dev=sum(round(part.num_dev * part.rows) for part in parts),
        evaluations=training.evaluations,
    )


@lru_cache(maxsize=64)
def _lengths(rows: tuple[Segments, ...], folder: Path, max_tokens: int) -> Lengths:
    tokenizer = TextTokenizer(folder)
    used, cut = 0, 0
    for segments in rows:
        encoding = tokenizer.encode(segments, max_tokens)
        used += encoding.used
        cut += encoding.total > encoding.used
    return Lengths(used / len(rows), cut / len(rows))


def sample_lengths(
    data: TaskData | None, choice: BackboneChoice, max_tokens: int
) -> Lengths | None:
    """Measure a sample of a task's rows; None where task or tokenizer are not here."""
    if data is None:
        return None
    step = max(1, len(data.train) // SAMPLE)
    rows = tuple(example.rows[0] for example in data.train[::step][:SAMPLE])
    try:
        return _lengths(rows, weights_folder(choice, offline=True), max_tokens)
    except BackboneError:
        return None
