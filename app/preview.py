"""What a recipe will cost and mean, before anything is queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.actions import backbone_facts
from app.estimate import Estimate, Load, StepTime, estimate
from core.backbones.facts import weights_folder
from core.backbones.spec import BACKBONES, BackboneChoice
from core.data.examples import TaskData
from core.data.tasks import read_task
from core.data.tokens import TextTokenizer
from core.errors import BackboneError, DataError
from core.methods import BackboneFacts, MethodConfig
from core.recipe import Recipe
from core.regimes import RegimeConfig
from core.settings import Settings, get_settings
from core.store.history import step_times

if TYPE_CHECKING:
    from core.store.session import Store

SAMPLE = 256
TRUNCATION_TO_TELL = 0.02
MANY_RUNS = 60
COMMAND = "./studio run my-recipe.yaml"


@dataclass(frozen=True)
class MethodPreview:
    """One method of the recipe.

    Attributes:
        label: Name in tables.
        describes: What it does, in a sentence.
        parameters: Trainable parameters by group, on the first task and backbone; empty when the
            backbone's sizes are not known here.
        total: Their sum.
        share: Their sum as a share of the backbone's weights, 0 to 1.
        alone: True when it cannot be trained together with others.
    """

    label: str
    describes: str
    parameters: dict[str, int]
    total: int
    share: float
    alone: bool


@dataclass(frozen=True)
class Preview:
    """What will happen.

    Attributes:
        num_runs: All runs, trials included.
        num_trials: Runs that only choose settings.
        num_finals: Runs that enter the tables.
        grid: The product behind the number, for people.
        methods: Each method with its size.
        updates: Smallest and largest number of updates a run.
        estimate: Time for all runs.
        warnings: What the person should know before starting.
        yaml: The recipe as text.
        command: The same without a browser.
    """

    num_runs: int
    num_trials: int
    num_finals: int
    grid: str
    methods: tuple[MethodPreview, ...]
    updates: tuple[int, int] | None
    estimate: Estimate
    warnings: tuple[str, ...]
    yaml: str
    command: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Lengths:
    mean: float
    cut_share: float


def preview(recipe: Recipe, store: Store | None, settings: Settings | None = None) -> Preview:
    """Count runs, parameters and updates of a recipe, and estimate its time.

    Nothing is fetched from a hub; what cannot be known without it is left out or said roughly.

    Args:
        recipe: A valid recipe.
        store: Database whose finished runs the estimate rests on; None: none.
        settings: Data folders; by default those of the process.
    """
    settings = settings or get_settings()
    data = {choice.name: _data_or_none(recipe, choice, settings) for choice in recipe.tasks}
    known = [item for item in data.values() if item is not None]
    sizes = [_facts_or_none(choice) for choice in recipe.backbones]
    cells = len(recipe.tasks) * len(recipe.methods) * len(recipe.backbones) * len(recipe.regimes)
    trials = cells * recipe.tuning.trials if recipe.tuning.protocol == "tuned" else 0
    num_labels = len(known[0].labels) if known else 2
    loads = _loads(recipe, data, sizes)
    return Preview(
        num_runs=recipe.num_final_runs + trials,
        num_trials=trials,
        num_finals=recipe.num_final_runs,
        grid=_grid(recipe),
        methods=tuple(_method(m, sizes[0], num_labels) for m in recipe.methods),
        updates=_span([load.updates for load in loads]),
        estimate=estimate(loads, _history(store), len(known) == len(data)),
        warnings=tuple(_warnings(recipe, data, trials)),
        yaml=recipe.to_yaml(),
        command=COMMAND,
    )


def _data_or_none(recipe: Recipe, choice: Any, settings: Settings) -> TaskData | None:
    try:
        return read_task(choice, settings.data_folders, selection=recipe.selection)
    except DataError:
        return None


def _facts_or_none(choice: BackboneChoice) -> BackboneFacts | None:
    try:
        return backbone_facts(choice, offline=True)
    except BackboneError:
        return None


def _history(store: Store | None) -> Sequence[StepTime]:
    if store is None:
        return ()
    with store.read() as session:
        return [StepTime(**row) for row in step_times(session)]


def _method(method: MethodConfig, facts: BackboneFacts | None, num_labels: int) -> MethodPreview:
    parameters: dict[str, int] = {}
    if facts is not None:
        parameters = {str(k): v for k, v in method.num_trainable(facts, num_labels).items()}
    total = sum(parameters.values())
    return MethodPreview(
        label=method.label,
        describes=method.describe(),
        parameters=parameters,
        total=total,
        share=total / facts.total_parameters if facts else 0.0,
        alone=method.SEPARATE,
    )


def _span(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


def _grid(recipe: Recipe) -> str:
    parts = [
        (len(recipe.tasks), "task"),
        (len(recipe.backbones), "backbone"),
        (len(recipe.regimes), "regime"),
        (len(recipe.methods), "method"),
        (len(recipe.seeds.data) * len(recipe.seeds.init), "seed"),
    ]
    shown = [f"{n} {word}{'s' if n != 1 else ''}" for n, word in parts if n > 1]
    return " × ".join(shown) or "1 method, 1 seed"


def _num_train(data: TaskData, regime: RegimeConfig, seed: int) -> int:
    labels = [example.label for example in data.train]
    # How many are drawn depends on the labels alone, so any distinct keys do.
    keys = [str(number) for number in range(len(labels))]
    try:
        return len(regime.select(labels, keys, len(data.labels), seed))
    except DataError:
        return len(labels)


@lru_cache(maxsize=64)
def _lengths(texts: tuple[tuple[str, ...], ...], folder: Path, max_tokens: int) -> _Lengths:
    tokenizer = TextTokenizer(folder)
    used, cut = 0, 0
    for segments in texts:
        encoding = tokenizer.encode(segments, max_tokens)
        used += encoding.used
        cut += encoding.total > encoding.used
    return _Lengths(used / len(texts), cut / len(texts))


def _sample_lengths(
    data: TaskData | None, choice: BackboneChoice, max_tokens: int
) -> _Lengths | None:
    if data is None:
        return None
    step = max(1, len(data.train) // SAMPLE)
    texts = tuple(example.segments for example in data.train[::step][:SAMPLE])
    try:
        return _lengths(texts, weights_folder(choice, offline=True), max_tokens)
    except BackboneError:
        return None


def _loads(
    recipe: Recipe,
    data: dict[str, TaskData | None],
    sizes: Sequence[BackboneFacts | None],
) -> list[Load]:
    training, tuning = recipe.training, recipe.tuning
    trials = tuning.trials if tuning.protocol == "tuned" else 0
    repeats = len(recipe.seeds.data) * len(recipe.seeds.init) + trials
    loads: list[Load] = []
    for choice, facts in zip(recipe.backbones, sizes, strict=True):
        for task in recipe.tasks:
            examples = data[task.name]
            lengths = _sample_lengths(examples, choice, training.max_tokens)
            for regime in recipe.regimes:
                number = 1000
                if examples is not None:
                    number = _num_train(examples, regime, recipe.seeds.data[0])
                loads += [
                    Load(
                        backbone=choice.label,
                        method_kind=method.kind,
                        max_tokens=training.max_tokens,
                        batch_size=min(training.batch_size, number),
                        updates=training.updates_for(number),
                        repeats=repeats,
                        tokens=(lengths.mean if lengths else training.max_tokens / 2)
                        + method.prompt_length,
                        facts=facts,
                        num_dev=len(examples.dev) if examples else 200,
                        evaluations=training.evaluations,
                    )
                    for method in recipe.methods
                ]
    return loads


def _warnings(recipe: Recipe, data: dict[str, TaskData | None], trials: int) -> list[str]:
    told: list[str] = []
    seeds = len(recipe.seeds.data) * len(recipe.seeds.init)
    for choice in recipe.tasks:
        examples = data[choice.name]
        if examples is None:
            told.append(
                f"Task '{choice.name}' has no readable files here; it cannot be queued yet."
            )
            continue
        told += [f"{choice.name}: {note}." for note in examples.notes]
        for backbone in recipe.backbones:
            lengths = _sample_lengths(examples, backbone, recipe.training.max_tokens)
            if lengths and lengths.cut_share > TRUNCATION_TO_TELL:
                told.append(
                    f"{choice.name}: about {100 * lengths.cut_share:.0f} % of the texts are longer "
                    f"than {recipe.training.max_tokens} tokens and will be cut."
                )
    if seeds == 1:
        told.append("One seed: there will be no spread, and no difference can be tested.")
    if len(recipe.methods) == 1:
        told.append("One method: there will be nothing to compare it with.")
    if recipe.selection == "paper_practice":
        told.append("Paper practice: checkpoints are chosen on the split that is reported.")
    if any(method.SEPARATE for method in recipe.methods):
        told.append("Fine-tuning changes the backbone, so its runs train one after the other.")
    if trials and seeds == 1:
        told.append("Tuning without several seeds: the winner's spread stays unknown.")
    if recipe.num_final_runs + trials > MANY_RUNS:
        told.append(f"{recipe.num_final_runs + trials} runs will keep a small machine busy long.")
    if any(choice.hub or BACKBONES.get(choice.name, _BUNDLED).hub for choice in recipe.backbones):
        told.append("Weights that are not here yet are fetched from the model hub by the worker.")
    return told


_BUNDLED = BACKBONES["minilm"]
