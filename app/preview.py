"""What a recipe will cost and mean, before anything is queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from app import workload
from app.estimate import Estimate, StepTime, estimate
from core.backbones.spec import BACKBONES, BackboneChoice
from core.methods import METHODS, Axis, BackboneFacts, MethodConfig, ParameterGroup
from core.recipe import Recipe
from core.settings import Settings, get_settings
from core.store.history import step_times
from core.wording import counted

if TYPE_CHECKING:
    from core.store.session import Store

TRUNCATION_TO_TELL = 0.02
MANY_RUNS = 60
USUAL_OUTPUTS = 2
COMMAND = "./studio run my-recipe.yaml"


@dataclass(frozen=True)
class MethodPreview:
    """One method of the recipe.

    Attributes:
        label: Name in tables.
        describes: What it does, in a sentence.
        parameters: Trainable parameters by group on the first backbone, of a joint run where
            there is one, else on the first task; empty when the sizes are not known here.
        total: Their sum.
        share: Their sum over the weights of the backbone, and of its language-model head where a
            verbalizer reads it; with a head or maps of a method's own it may pass 1.
        alone: True when it cannot be trained together with others.
        jointly: Fewest and most parameters of a joint run; None where there is none.
        singly: Fewest and most parameters of a run on one task; None where there is none.
    """

    label: str
    describes: str
    parameters: dict[str, int]
    total: int
    share: float
    alone: bool
    jointly: tuple[int, int] | None
    singly: tuple[int, int] | None


@dataclass(frozen=True)
class TaskExamples:
    """How many examples a task is trained on: the fewest and the most over the regimes."""

    task: str
    fewest: int
    most: int


@dataclass(frozen=True)
class Preview:
    """What will happen.

    Attributes:
        num_runs: All runs, trials included.
        num_trials: Runs that only choose settings.
        num_finals: Runs that enter the tables.
        grid: The product behind the number, for people.
        methods: Each method with its sizes.
        examples: Training examples of each task that can be read here.
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
    examples: tuple[TaskExamples, ...]
    updates: tuple[int, int] | None
    estimate: Estimate
    warnings: tuple[str, ...]
    yaml: str
    command: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def preview(recipe: Recipe, store: Store | None, settings: Settings | None = None) -> Preview:
    """Count runs, parameters and updates of a recipe, and estimate its time.

    Nothing is fetched from a hub; what cannot be known without it is left out or said roughly.

    Args:
        recipe: A valid recipe.
        store: Database whose finished runs the estimate rests on; None: none.
        settings: Data folders; by default those of the process.
    """
    data = workload.read_all(recipe, settings or get_settings())
    known = [item for item in data.values() if item is not None]
    sizes = workload.facts_or_none(recipe.backbones[0])
    heads = _heads(recipe, data)
    loads = list(workload.loads(recipe, data))
    return Preview(
        num_runs=recipe.num_final_runs + recipe.num_trial_runs,
        num_trials=recipe.num_trial_runs,
        num_finals=recipe.num_final_runs,
        grid=_grid(recipe),
        methods=tuple(
            _method(method, recipe.backbones[0], sizes, heads) for method in recipe.methods
        ),
        examples=tuple(_examples(recipe, data)),
        updates=_span([load.updates for load in loads]),
        estimate=estimate(loads, _history(store), len(known) == len(data)),
        warnings=tuple(_warnings(recipe, data)),
        yaml=recipe.to_yaml(),
        command=COMMAND,
    )


def warnings_of(recipe: Recipe, settings: Settings | None = None) -> tuple[str, ...]:
    """Say what the results will not show, which settings have no effect and what takes long."""
    return tuple(_warnings(recipe, workload.read_all(recipe, settings or get_settings())))


def _history(store: Store | None) -> Sequence[StepTime]:
    if store is None:
        return ()
    with store.read() as session:
        rows = step_times(session)
    found = []
    for row in rows:
        settings = row.pop("method")
        with suppress(ValidationError):  # another version's run, whose passes are not known here
            method = METHODS[row["method_kind"]].model_validate(settings)
            past = StepTime(**row, passes=method.passes, prompt_length=method.prompt_length)
            found.append(past)
    return found


@dataclass(frozen=True)
class _Heads:
    """Outputs of the heads that are trained: together, by what tasks own, and for one task."""

    together: Mapping[tuple[Axis, ...], tuple[int, ...]]
    singly: tuple[int, ...]


def _heads(recipe: Recipe, data: workload.DataOf) -> _Heads:
    """Count the outputs on the first backbone; beside a verbalizer no head is trained."""
    outputs: dict[str, int] = {}
    for (name, _), found in data.items():
        outputs[name] = found.num_outputs if found else outputs.get(name, USUAL_OUTPUTS)
    if recipe.backbones[0].is_verbalizer:
        outputs = dict.fromkeys(outputs, 0)
    together: dict[tuple[Axis, ...], tuple[int, ...]] = {}
    singly: dict[str, int] = {}
    for cell in recipe.cells():
        if cell.regime.is_joint:
            tasks = (cell.task, *cell.partners)
            together[cell.regime.own_axes] = tuple(outputs[task.name] for task in tasks)
        else:
            singly[cell.task.name] = outputs[cell.task.name]
    return _Heads(together, tuple(singly.values()))


def _method(
    method: MethodConfig, backbone: BackboneChoice, facts: BackboneFacts | None, heads: _Heads
) -> MethodPreview:
    together: list[dict[ParameterGroup, int]] = []
    singly: list[dict[ParameterGroup, int]] = []
    if facts is not None:
        together = [
            method.num_trainable_jointly(facts, outputs, own)
            for own, outputs in heads.together.items()
        ]
        singly = [method.num_trainable(facts, count) for count in heads.singly]
    shown = next(iter([*together, *singly]), {})
    total = sum(shown.values())
    read = facts.language_parameters if facts and backbone.is_verbalizer else 0
    return MethodPreview(
        label=method.label,
        describes=method.describe() + backbone.answers,
        parameters={str(group): count for group, count in shown.items() if count},
        total=total,
        share=total / (facts.total_parameters + read) if facts else 0.0,
        alone=method.SEPARATE,
        jointly=_span([sum(counts.values()) for counts in together]),
        singly=_span([sum(counts.values()) for counts in singly]),
    )


def _span(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


def _grid(recipe: Recipe) -> str:
    joint = sum(regime.is_joint for regime in recipe.regimes)
    alone = sum(regime.kind != "multi_task" for regime in recipe.regimes)
    per_backbone = recipe.num_cells // (len(recipe.backbones) * len(recipe.methods))
    controls = per_backbone - joint - alone * len(recipe.tasks)
    single = [(len(recipe.tasks), "task"), (alone, "regime")]
    rest = [
        (len(recipe.backbones), "backbone"),
        (len(recipe.methods), "method"),
        (len(recipe.seeds.data) * len(recipe.seeds.init), "seed"),
    ]
    if alone == len(recipe.regimes):
        return _product([*single, *rest]) or "1 method, 1 seed"
    together = [(joint, "joint training"), (controls, "control")]
    summed = [_product(single) or "1 task"] if alone else []
    summed += [counted(number, word) for number, word in together if number]
    left = " + ".join(summed)
    right = _product(rest)
    return f"({left}) × {right}" if right and len(summed) > 1 else f"{left} × {right}".strip(" ×")


def _product(factors: Sequence[tuple[int, str]], least: int = 2) -> str:
    return " × ".join(counted(number, word) for number, word in factors if number >= least)


def _examples(recipe: Recipe, data: workload.DataOf) -> Iterator[TaskExamples]:
    """Tell how many examples each task is trained on, over the regimes."""
    for choice in recipe.tasks:
        counts = [
            workload.part_of(recipe, choice, data[choice.name, regime.source], regime)
            for regime in recipe.regimes
            if data[choice.name, regime.source] is not None
        ]
        if counts:
            numbers = [part.num_train for part in counts]
            yield TaskExamples(choice.name, min(numbers), max(numbers))


def _warnings(recipe: Recipe, data: workload.DataOf) -> list[str]:
    told: list[str] = []
    for (name, _), examples in data.items():
        if examples is None:
            told.append(f"Task '{name}' has no readable files here; it cannot be queued yet.")
            continue
        told += [f"{name}: {note}." for note in examples.notes]
        for backbone in recipe.backbones:
            lengths = workload.sample_lengths(examples, backbone, recipe.training.max_tokens)
            if lengths and lengths.cut_share > TRUNCATION_TO_TELL:
                told.append(
                    f"{name}: about {100 * lengths.cut_share:.0f} % of the texts are longer "
                    f"than {recipe.training.max_tokens} tokens and will be cut."
                )
    return [*told, *_comparison_warnings(recipe), *_cost_warnings(recipe)]


def _comparison_warnings(recipe: Recipe) -> Iterator[str]:
    """Tell what the results will not show."""
    seeds = len(recipe.seeds.data) * len(recipe.seeds.init)
    draws = [regime for regime in recipe.regimes if regime.kind == "few_shot"]
    if seeds == 1:
        yield "One seed: there will be no spread, and no difference can be tested."
    if len(recipe.methods) == 1:
        yield "One method: there will be nothing to compare it with."
    if len(recipe.seeds.data) == 1 and any(regime.source == "official" for regime in draws):
        yield (
            "One draw of few-shot examples: results differ much between draws; 5 data seeds × 2 "
            "init seeds are usual."
        )
    if any(regime.is_joint for regime in recipe.regimes) and not any(
        cell.partners and not cell.regime.is_joint for cell in recipe.cells()
    ):
        yield "No control: what joint training gains over each task alone will not be known."
    for method in recipe.methods:
        yield from method.notes
        if recipe.tuning.protocol == "fixed" and method.least_trials > 1:
            yield f"{method.label}: nothing is tried on dev here; it is trained as it is written."
    if recipe.selection == "paper_practice":
        yield "Paper practice: checkpoints are chosen on the split that is reported."
    if recipe.num_trial_runs and seeds == 1:
        yield "Tuning without several seeds: the winner's spread stays unknown."


def _cost_warnings(recipe: Recipe) -> Iterator[str]:
    """Tell what will take long or has to be fetched."""
    total = recipe.num_final_runs + recipe.num_trial_runs
    if alone := [method.label for method in recipe.methods if method.SEPARATE]:
        verb, whose = ("changes", "its") if len(alone) == 1 else ("change", "their")
        yield (
            f"{' and '.join(alone)} {verb} the inside of the backbone, so {whose} runs train one "
            "after the other."
        )
    if recipe.tuning.folds > 1:
        yield f"Cross-fitting: each trial is run {recipe.tuning.folds} times, once a fold."
    if total > MANY_RUNS:
        yield f"{total} runs will keep a small machine busy long."
    if any(choice.hub or BACKBONES.get(choice.name, _BUNDLED).hub for choice in recipe.backbones):
        yield "Weights that are not here yet are fetched from the model hub by the worker."


_BUNDLED = BACKBONES["minilm"]
