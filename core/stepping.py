"""How updates are made of the training examples: whole batches, or as the authors' scripts step.

The scripts (arXiv 2303.02909) read micro-batches of 8 and count a step of theirs for every fourth.
With ``stepping: paper_code`` a batch of ``batch_size`` examples is taken for one step of theirs,
and its four parts for their micro-batches:

    each     fixed prompts and pools: an update, and a step of the schedule, for each of the four,
             with that part's mean loss; the gradient is clipped only in every fourth update.
             n updates are n / 4 steps of theirs.
    fourth   adap_pos and adap_ins_pos: the gradients of the four parts' mean losses are summed,
             not averaged, clipped, and used for one update. n updates are n steps of theirs.

``max_updates`` counts updates in both cases. ``epochs`` gives both kinds the same examples, and so
the same number of the authors' steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from core.methods import MethodConfig
from core.methods.dynamic_prompt.config import Config as DynamicPrompt
from core.methods.prompt_tuning.config import Config as PromptTuning
from core.recipe_parts import AUTHORS_PARTS, Training

if TYPE_CHECKING:
    from core.regimes import RegimeConfig

AuthorsStep = Literal["each", "fourth"]


def authors_step(method: MethodConfig) -> AuthorsStep | None:
    """Tell after how many micro-batches the authors' script of a method steps; None: it has none.

    Args:
        method: The method; which cut, pool size or initial values it has makes no difference.
    """
    if isinstance(method, PromptTuning):
        return "each"
    if not isinstance(method, DynamicPrompt):
        return None
    foreign = (
        method.position == "random",
        method.place != "cut",
        method.length != "fixed",
        method.injection != "input",
        method.selection != "st_gumbel",
        method.stages != "joint",
    )
    if any(foreign):
        return None
    is_one_prompt = method.representation == "fixed"
    return "fourth" if is_one_prompt and method.position != "fixed" else "each"


def refusal(training: Training, method: MethodConfig, regime: RegimeConfig) -> str:
    """Say why a method cannot be stepped as the recipe asks; empty when it can."""
    if training.stepping == "batch":
        return ""
    if authors_step(method) is None:
        return (
            f"stepping: paper_code stands for the authors' scripts, which have fixed prompts, "
            f"adap_pos, adap_ins_pos and pools in the input; none of them trains {method.label}. "
            "Use stepping: batch, or put it into a recipe of its own"
        )
    if regime.is_joint:
        return (
            "stepping: paper_code stands for the authors' scripts, which train one task; use "
            "stepping: batch for a joint training"
        )
    return ""


def steps_on_each(training: Training, method: MethodConfig) -> bool:
    """Tell whether each micro-batch of the authors is an update of its own."""
    return training.stepping == "paper_code" and authors_step(method) == "each"


def examples_an_update(training: Training, method: MethodConfig) -> int:
    """Count the examples of one update."""
    if steps_on_each(training, method):
        return training.batch_size // AUTHORS_PARTS
    return training.batch_size


def parts_of_update(training: Training, method: MethodConfig) -> int:
    """Count the parts that the examples of one update pass the backbone in."""
    return 1 if steps_on_each(training, method) else training.accumulation


def whole_updates(training: Training, method: MethodConfig, step: int) -> int:
    """Count the authors' steps before an update, counted from 0: their temperature's clock."""
    return step // AUTHORS_PARTS if steps_on_each(training, method) else step


def is_clipped(training: Training, method: MethodConfig, step: int) -> bool:
    """Tell whether the gradient of an update, counted from 0, is clipped."""
    return not steps_on_each(training, method) or (step + 1) % AUTHORS_PARTS == 0
