"""What the parts of a recipe demand of each other; each problem with its field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from core.methods import MethodConfig
from core.regimes.few_shot import Config as FewShot
from core.regimes.multi_task import Config as MultiTask

if TYPE_CHECKING:
    from core.recipe import Recipe

MAX_RUNS = 2000
MAX_JOINT_TASKS = 16
LONGEST_TASK_LABEL = 80
PROBLEM = "recipe_problem"

Field = tuple[str | int, ...]
Problem = tuple[Field, str]

WHAT_IS_FIXED = {
    "vectors": "no vectors",
    "position": "no position",
    "representation": "no choice of vectors",
}


def check(recipe: Recipe) -> None:
    """Check a recipe whose parts are sound one by one.

    Raises:
        ValidationError: With every problem at once, each with its field.
    """
    problems = [*_joint(recipe), *_few_shot(recipe), *_cross_fitting(recipe), *_too_many(recipe)]
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
        if isinstance(regime, MultiTask) and (regime.control or not regime.is_joint):
            yield (
                ("regimes", place, "control"),
                "a refit takes the updates that were best for it, but a control those of the "
                "joint run; set control: false, or folds: 1",
            )


def _too_many(recipe: Recipe) -> Iterator[Problem]:
    count = recipe.num_final_runs + recipe.num_trial_runs
    if count > MAX_RUNS:
        yield (), f"{count} runs are more than the {MAX_RUNS} a study may have"
