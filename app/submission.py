"""What is checked before a study is queued: all problems at once, each with its field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.draws import draw
from core.backbones.facts import facts, require_room, weights_folder
from core.backbones.language import require_language_head
from core.backbones.spec import BACKBONES, BackboneChoice
from core.data.examples import TaskData
from core.data.splits import NUM_FOLDS
from core.data.tasks import read_task, resolve
from core.data.tokens import TextTokenizer
from core.data.words import word_ids, word_pieces
from core.errors import BackboneError, ConfigError, DataError, NotFound, RecipeErrors
from core.methods import BackboneFacts, MethodConfig
from core.recipe import Recipe, RunConfig
from core.recipe_checks import overlap
from core.recipe_parts import TaskChoice
from core.regimes import RegimeConfig, Source
from core.settings import Settings
from core.states import RunState
from core.store import queries
from core.stored_config import read_config
from core.tuning import trial_seeds

if TYPE_CHECKING:
    from core.store.session import Store

MOST_FOLDED = 1000
"""Training rows from which on one dev is large enough; cross-fitting is refused there."""

ONLY_TRAINING = (
    "learning_rates",
    "temperature",
    "selection",
    "samples",
    "entropy_bonus",
    "init",
)
"""Settings of methods that a run may have other than the run it starts from."""


Resolved = dict[tuple[str, Source], TaskChoice]


def prepare_runs(recipe: Recipe, settings: Settings, store: Store | None = None) -> list[RunConfig]:
    """Make the runs of a recipe with folders, data versions and start filled in.

    Args:
        recipe: The study.
        settings: Data folders and offline rule.
        store: Database with the run that ``init_from`` names; None: that is not looked up.

    Raises:
        RecipeErrors: With every problem at once, in the order of the recipe's fields.
    """
    problems: list[ConfigError] = []
    resolved = _check_tasks(recipe, settings.data_folders, recipe.seeds.data, problems)
    _check_backbones(recipe, settings.offline, problems)
    _check_words(recipe, settings.data_folders, problems)
    start = _check_start(recipe, store, problems) if store else recipe.init_from
    if problems:
        raise RecipeErrors(problems)
    return [_placed(config, resolved, start) for config in recipe.runs()]


def _placed(config: RunConfig, resolved: Resolved, start: str) -> RunConfig:
    task, *partners = (resolved[choice.name, config.regime.source] for choice in config.tasks)
    found = {"task": task, "partners": tuple(partners), "init_from": start}
    return config.model_copy(update=found)


def recipe_problems(
    recipe: Recipe, settings: Settings, store: Store | None = None
) -> list[ConfigError]:
    """Find what is wrong with a recipe's tasks, backbones and start; fast, and asks no hub."""
    problems: list[ConfigError] = []
    _check_tasks(recipe, settings.data_folders, recipe.seeds.data[:1], problems)
    for number, choice in enumerate(recipe.backbones):
        try:
            problems += _misfits(recipe, number, backbone_facts(choice, offline=True))
        except BackboneError as error:
            if choice.path:  # others may only not be here yet: told once they are fetched
                problems.append(_of_backbone(number, error))
    _check_words(recipe, settings.data_folders, problems)
    if store:
        _check_start(recipe, store, problems)
    return problems


def _check_tasks(
    recipe: Recipe, folders: Sequence[Path], seeds: Sequence[int], problems: list[ConfigError]
) -> Resolved:
    """Read every task as every regime does; return the tasks with folder and data version."""
    found: Resolved = {}
    told: set[str] = set()
    for number, choice in enumerate(recipe.tasks):
        for place, regime in enumerate(recipe.regimes):
            field, about = f"tasks.{number}", ""
            try:
                task = resolve(choice, folders, source=regime.source)
                data = read_task(task, folders, selection=recipe.selection, source=regime.source)
                field, about = f"regimes.{place}", f"task '{choice.name}': "
                if recipe.tuning.folds > 1:
                    field = "tuning.folds"
                    _check_folds(data, task, regime, folders, trial_seeds(recipe.seeds).data)
                tried = [*seeds, trial_seeds(recipe.seeds).data]
                for seed in tried if recipe.tuning.protocol == "tuned" else seeds:
                    draw(task, data, regime, seed, selection=recipe.selection)
            except DataError as error:
                problem = ConfigError(f"{about}{error.message}", field=field, hint=error.hint)
                # Files that are missing are missing for every regime.
                if str(problem) not in told:
                    problems.append(problem)
                told.add(str(problem))
            else:
                found[choice.name, regime.source] = task
    return found


def _check_folds(
    data: TaskData, task: TaskChoice, regime: RegimeConfig, folders: Sequence[Path], seed: int
) -> None:
    """Refuse folds of a task whose dev is large enough without, or too small for the regime.

    Raises:
        DataError: If there are too many or too few training examples.
    """
    whole = read_task(task, folders, selection="refit", source=regime.source)
    if len(whole.train) >= MOST_FOLDED:
        raise DataError(
            f"five folds are for tasks under {MOST_FOLDED:,} training examples; {data.title} has "
            f"{len(whole.train):,}.",
            hint="Set folds: 1; its dev is large enough to compare trials on.",
        )
    for fold in range(NUM_FOLDS):
        part = read_task(task, folders, selection="fold", fold=fold, source=regime.source)
        draw(task, part, regime, seed, selection="fold", fold=fold)


def backbone_facts(choice: BackboneChoice, *, offline: bool) -> BackboneFacts:
    """Read a backbone's sizes after checking that a worker will find its files.

    Weights of a Hub model are not fetched here: the worker does that when it needs them.

    Raises:
        BackboneError: If the files are missing or wrong, or the Hub must not be asked.
    """
    on_hub = bool(choice.hub or (choice.name and BACKBONES[choice.name].hub))
    if offline or not on_hub:
        weights_folder(choice, offline)
    return facts(choice, offline)


def _check_backbones(recipe: Recipe, offline: bool, problems: list[ConfigError]) -> None:
    for number, choice in enumerate(recipe.backbones):
        try:
            problems += _misfits(recipe, number, backbone_facts(choice, offline=offline))
        except BackboneError as error:
            problems.append(_of_backbone(number, error))


def _misfits(recipe: Recipe, number: int, known: BackboneFacts) -> list[ConfigError]:
    """Say what of a recipe a backbone cannot do, given its sizes."""
    choice = recipe.backbones[number]
    try:
        if choice.is_verbalizer:
            require_language_head(known, choice.source)
        longest = max(method.prompt_length for method in recipe.methods)
        require_room(known, recipe.training.max_tokens, longest)
    except BackboneError as error:
        return [_of_backbone(number, error)]
    except ConfigError as error:
        return [error]
    return list(_check_fit(recipe.methods, known))


def _of_backbone(number: int, error: BackboneError) -> ConfigError:
    return ConfigError(error.message, field=f"backbones.{number}", hint=error.hint)


def _check_words(recipe: Recipe, folders: Sequence[Path], problems: list[ConfigError]) -> None:
    """Try all label words with the tokenizers that are here; a worker tries those it fetches."""
    are_vectors = any(method.starts_from_words for method in recipe.methods)
    for number, choice in enumerate(recipe.backbones):
        if not (choice.is_verbalizer or are_vectors):
            continue
        try:
            known, folder = facts(choice, offline=True), weights_folder(choice, True)
        except BackboneError:  # on a hub, or already told
            continue
        form = known.language_head if choice.is_verbalizer else ""
        if choice.is_verbalizer and not form:
            continue
        try:
            tokenizer = TextTokenizer(folder, form)
        except BackboneError as error:
            problems.append(_of_backbone(number, error))
            continue
        for place, task in enumerate(recipe.tasks):
            try:
                words = read_task(task, folders, source=recipe.regimes[0].source).words
                if choice.is_verbalizer:
                    word_ids(words, tokenizer, choice.source)
                if are_vectors:
                    word_pieces(words, tokenizer, choice.source)
            except DataError:  # already told
                continue
            except ConfigError as error:
                message = f"{task.name}: {error.message}"
                field = f"tasks.{place}.label_words"
                problems.append(ConfigError(message, field=field, hint=error.hint))


def _check_fit(methods: Sequence[MethodConfig], known: BackboneFacts) -> Iterator[ConfigError]:
    for number, method in enumerate(methods):
        try:
            method.require_fit(known)
        except ConfigError as error:
            field = f"methods.{number}.{error.field}"
            yield ConfigError(error.message, field=field, hint=error.hint)


def _check_start(recipe: Recipe, store: Store, problems: list[ConfigError]) -> str:
    """Check the run that the recipe's runs start from; return its id, empty when there is none."""
    if not recipe.init_from:
        return ""
    try:
        with store.read() as session:
            view = queries.run_view(session, recipe.init_from)
            source = earlier = read_config(view.config, view.row.slug)
            trained = list(source.trained_tasks)
            while earlier.init_from:
                before = queries.run_view(session, earlier.init_from)
                earlier = read_config(before.config, before.row.slug)
                trained += earlier.trained_tasks
    except (NotFound, ConfigError) as error:
        problems.append(ConfigError(error.message, field="init_from", hint=error.hint))
        return ""
    slug = view.row.slug
    if view.row.state is not RunState.SUCCEEDED or "adapter" not in view.artifacts:
        message = f"{slug} is {view.row.state.value}; only a succeeded run has something to give."
        problems.append(ConfigError(message, field="init_from", hint="Name a succeeded run."))
    for number, backbone in enumerate(recipe.backbones):
        if backbone.source_key != source.backbone.source_key:
            message = f"{slug} was trained on {source.backbone.label}, not on {backbone.label}."
            hint = "Choose its backbone alone, or another run to start from."
            problems.append(ConfigError(message, field=f"backbones.{number}", hint=hint))
    for number, method in enumerate(recipe.methods):
        if reason := _cannot_start(method, source.method, slug):
            hint = "Choose its method with the same settings, or another run to start from."
            problems.append(ConfigError(f"{reason}.", field=f"methods.{number}", hint=hint))
    for number, task in enumerate(recipe.tasks):
        for known in trained:
            if reason := overlap(task, known):
                message = f"{slug} comes from training on {known.name}; {reason}."
                hint = "Choose another task, or another run to start from."
                problems.append(ConfigError(message, field=f"tasks.{number}", hint=hint))
    return view.row.id


def _cannot_start(method: MethodConfig, source: MethodConfig, slug: str) -> str:
    """Say why a method cannot take over the tensors of another; empty when it can."""
    if method.kind != source.kind:
        return f"{slug} trained {source.label}; {method.label} has other tensors"
    if method.trains_head_alone:
        return f"{method.label} trains a head alone, and a head always starts anew"
    ours, theirs = _meaning(method), _meaning(source)
    other = next((name for name in ours if ours[name] != theirs[name]), None)
    if other is None:
        return ""
    return (
        f"{slug} trained {other} {_shown(theirs[other])}; {method.label} has {_shown(ours[other])}"
    )


def _meaning(method: MethodConfig) -> dict[str, object]:
    """Settings that give tensors their shapes or say what they do; not those of training alone."""
    found = method.model_dump(mode="json", exclude=set(ONLY_TRAINING))
    if "cut" in found and found["cut"] is None:
        found["cut"] = found["num_virtual_tokens"]
    return found


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
