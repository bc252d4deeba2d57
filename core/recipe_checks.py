"""What the parts of a recipe demand of each other; each problem with its field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from core.methods import MethodConfig
from core.regimes import RegimeConfig
from core.regimes.few_shot import Config as FewShot
from core.regimes.multi_task import Config as MultiTask
from core.stepping import refusal
from core.tasks import TASKS, TaskSpec

if TYPE_CHECKING:
    from core.recipe import Recipe
    from core.recipe_parts import TaskChoice

MAX_RUNS = 2000
MAX_JOINT_TASKS = 16
LONGEST_TASK_LABEL = 80
PROBLEM = "recipe_problem"

Field = tuple[str | int, ...]
Problem = tuple[Field, str]

WHAT_IS_FIXED = {
    "vectors": "no vectors",
    "position": "no position",
    "length": "no length",
    "representation": "no choice of vectors",
}


def check(recipe: Recipe) -> None:
    """Check a recipe whose parts are sound one by one.

    Raises:
        ValidationError: With every problem at once, each with its field.
    """
    checks = (
        _summed_choices,
        _lacking_trials,
        _stages,
        _stepping,
        _joint,
        _derived,
        _exact_updates,
        _few_shot,
        _cross_fitting,
        _verbalizers,
        _initial_words,
        _enough_trials,
    )
    problems = [problem for find in (*checks, _too_many) for problem in find(recipe)]
    if problems:
        raise ValidationError.from_exception_data(
            "Recipe",
            [
                InitErrorDetails(
                    type=PydanticCustomError(PROBLEM, "{text}", {"text": text}),
                    loc=field,
                    input=None,
                )
                for field, text in problems
            ],
        )


def _summed_choices(recipe: Recipe) -> Iterator[Problem]:
    named = _scored(recipe)
    for place, method in enumerate(recipe.methods):
        if method.sums_choices and named:
            text = (
                f"{method.label} sums over the places of one row, but the rows of an example of "
                f"{named[0]} are scored together, each with a place of its own; use selection: "
                "st_gumbel for this task"
            )
            yield ("methods", place, "selection"), text


def _lacking_trials(recipe: Recipe) -> Iterator[Problem]:
    for place, method in enumerate(recipe.methods):
        if method.lacks_trials and recipe.tuning.protocol != "tuned":
            yield ("methods", place, "cut"), method.lacks_trials


def _stages(recipe: Recipe) -> Iterator[Problem]:
    for place, method in enumerate(recipe.methods):
        if getattr(method, "stages", "joint") == "two_stage" and recipe.training.max_updates == 1:
            text = (
                f"{method.label} trains first the position and then the mixture, and one update "
                "leaves nothing for the mixture; give max_updates of 2 at least, or stages: joint"
            )
            yield ("methods", place, "stages"), text


def _stepping(recipe: Recipe) -> Iterator[Problem]:
    pairs = ((method, regime) for method in recipe.methods for regime in recipe.regimes)
    texts = (refusal(recipe.training, method, regime) for method, regime in pairs)
    yield from ((("training", "stepping"), text) for text in dict.fromkeys(texts) if text)


def _joint(recipe: Recipe) -> Iterator[Problem]:
    for place, regime in enumerate(recipe.regimes):
        if not isinstance(regime, MultiTask):
            continue
        if len(recipe.tasks) < 2:
            text = "multi_task trains several tasks together; add a second task"
            yield ("regimes", place), text
        elif len(recipe.tasks) > MAX_JOINT_TASKS:
            text = f"multi_task trains at most {MAX_JOINT_TASKS} tasks, not {len(recipe.tasks)}"
            yield ("tasks",), text
        label = "+".join(task.name for task in recipe.tasks)
        if len(label) > LONGEST_TASK_LABEL:
            yield (
                ("tasks",),
                f"the names of the tasks joined by '+' have {len(label)} characters, multi_task "
                f"allows {LONGEST_TASK_LABEL}; take fewer tasks or shorter names",
            )
        for method in recipe.methods:
            lacking = [axis for axis in regime.own if axis not in method.axes]
            if lacking:
                yield ("regimes", place, "own"), _no_axis(method, lacking)


def _derived(recipe: Recipe) -> Iterator[Problem]:
    if not any(isinstance(regime, MultiTask) for regime in recipe.regimes):
        return
    for number, task in enumerate(recipe.tasks):
        for other in recipe.tasks[:number]:
            if reason := overlap(task, other):
                yield ("tasks", number), f"{reason}; multi_task cannot train on both, leave one out"


def overlap(one: TaskChoice, other: TaskChoice) -> str:
    """Say why what one task trains on is what the other reports; empty when it is not."""
    for task, origin in ((one, other), (other, one)):
        spec = declared_task(task)
        if spec and spec.derived_from and declared_task(origin) is TASKS[spec.derived_from]:
            return (
                f"{task.name} is cut from the file that {origin.name} reports on, so one would be "
                "trained on examples that the other reports"
            )
    return ""


def declared_task(choice: TaskChoice) -> TaskSpec | None:
    """Return the declared task that a choice names; None for data of one's own."""
    return None if choice.dataset or choice.text_fields else TASKS.get(choice.name)


def _exact_updates(recipe: Recipe) -> Iterator[Problem]:
    if recipe.training.patience is not None and any(map(_has_control, recipe.regimes)):
        yield (
            ("training", "patience"),
            "a multi_task control takes exactly the updates that its task gets jointly, and a run "
            "that stops early takes others; leave patience out, or set control: false",
        )


def _has_control(regime: RegimeConfig) -> bool:
    return isinstance(regime, MultiTask) and (regime.control or not regime.is_joint)


def _no_axis(method: MethodConfig, lacking: Sequence[str]) -> str:
    what = " and ".join(WHAT_IS_FIXED[axis] for axis in lacking)
    can = ", ".join(sorted(method.axes)) or "none"
    return (
        f"{method.label} trains {what}, so no task can have its own ({', '.join(lacking)}); it "
        f"can have: {can}. Leave it out, or put {method.label} into a recipe of its own"
    )


def _few_shot(recipe: Recipe) -> Iterator[Problem]:
    for place, regime in enumerate(recipe.regimes):
        if isinstance(regime, FewShot) and regime.has_own_dev:
            sampled = "draw: sampled with dev: full" if regime.draw == "fewglue" else "dev: full"
            if recipe.selection == "paper_practice":
                text = f"paper_practice chooses on the reported split; set {sampled}"
                yield ("regimes", place, "dev"), text
            if recipe.tuning.folds > 1:
                text = f"with folds each fold of train is dev in turn; set {sampled}, or folds: 1"
                yield ("regimes", place, "dev"), text


def _cross_fitting(recipe: Recipe) -> Iterator[Problem]:
    if recipe.tuning.folds == 1:
        return
    if recipe.selection == "paper_practice":
        text = "with folds settings are chosen on folds of train, not on the reported split"
        yield ("selection",), text
    for place, regime in enumerate(recipe.regimes):
        if _has_control(regime):
            yield (
                ("regimes", place, "control"),
                "a refit takes the updates that were best for it, but a control those of the "
                "joint run; set control: false, or folds: 1",
            )


def _scored(recipe: Recipe) -> list[str]:
    """Declared tasks that score choices."""
    declared = ((task.name, declared_task(task)) for task in recipe.tasks)
    return [name for name, spec in declared if spec and spec.kind == "choices"]


def _verbalizers(recipe: Recipe) -> Iterator[Problem]:
    """A verbalizer says one word for each class, and trains no head."""
    scored = _scored(recipe)
    texts = [no_word_for_choices(name) for name in scored[:1]]
    texts += [nothing_but_a_head(method) for method in recipe.methods if method.trains_head_alone]
    for place, backbone in enumerate(recipe.backbones):
        if backbone.is_verbalizer:
            yield from ((("backbones", place, "read_out"), text) for text in texts)


def no_word_for_choices(task: str) -> str:
    """Say why a task that scores choices has no verbalizer."""
    return (
        f"{task} scores an example's choices against each other, and no word stands for one of "
        "them; set read_out: head, or leave the task out"
    )


def _initial_words(recipe: Recipe) -> Iterator[Problem]:
    """A prompt starts from the words of classes."""
    for task in _scored(recipe)[:1]:
        for place, method in enumerate(recipe.methods):
            if method.starts_from_words:
                yield ("methods", place, "init"), no_word_to_start_from(method, task)


def no_word_to_start_from(method: MethodConfig, task: str) -> str:
    """Say why a prompt cannot start from the label words of a task that scores choices."""
    return (
        f"{method.label} starts from the words of a task's classes, but {task} scores an "
        "example's choices against each other and has no classes; use init: vocabulary, or leave "
        "the task out"
    )


def _enough_trials(recipe: Recipe) -> Iterator[Problem]:
    """What a control chooses among is all tried, or the control would not be what it is called."""
    if recipe.tuning.protocol != "tuned":
        return
    for method in recipe.methods:
        needed = method.least_trials
        if recipe.tuning.trials < needed:
            yield (
                ("tuning", "trials"),
                f"{method.label} tries {needed} settings before it varies its learning rates, and "
                f"{recipe.tuning.trials} trials leave some of them out; give trials: {needed}",
            )


def nothing_but_a_head(method: MethodConfig) -> str:
    """Say why a method has nothing to train beside a verbalizer."""
    return (
        f"{method.label} trains a head and nothing else, and a verbalizer has none; set read_out: "
        "head, or choose another method"
    )


def _too_many(recipe: Recipe) -> Iterator[Problem]:
    count = recipe.num_final_runs + recipe.num_trial_runs
    if count > MAX_RUNS:
        yield (), f"{count} runs are more than the {MAX_RUNS} a study may have"
