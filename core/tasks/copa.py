"""COPA: which of two choices is the cause or the effect of a premise."""

from collections.abc import Mapping
from typing import Any

from core.tasks._fields import text
from core.tasks._spec import TaskSpec

CONNECTIVES = {"cause": "because", "effect": "so"}


def with_connective(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add ``connective``: because for a cause, so for an effect.

    Raises:
        ValueError: If the question is neither.
    """
    question = text(fields, "question").strip().casefold()
    if question not in CONNECTIVES:
        raise ValueError(f"question is '{question[:40]}', neither cause nor effect")
    return {**fields, "connective": CONNECTIVES[question]}


SPEC = TaskSpec(
    name="copa",
    title="COPA",
    labels=("choice1", "choice2"),
    text_fields=("premise", "question", "choice1", "choice2"),
    group_field="premise",
    label_map={"0": "choice1", "1": "choice2"},
    kind="choices",
    choice_fields=("choice1", "choice2"),
    derive=with_connective,
    templates={
        "p_tuning_v2": ("{premise} {connective}", "{choice}"),
        "question": ("What was the {question} of this? {premise}", "{choice}"),
    },
    suite="superglue",
    folder=("COPA", "copa"),
    counts={"train": 400, "val": 100, "test": 500},
    official=("accuracy",),
    hub="aps/super_glue:copa",
    source="Roemmele et al. 2011; SuperGLUE, arXiv 1905.00537",
    note="The paper has no COPA; the default template is P-tuning v2's input.",
)
