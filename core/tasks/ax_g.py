"""AX-g: pairs that differ in a pronoun's gender only, answered by models trained on RTE."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.tasks._fields import whole_number
from core.tasks._spec import TaskSpec
from core.tasks.rte import SPEC as RTE


def with_pair(fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Number the pairs: two consecutive lines are one.

    Raises:
        ValueError: If the line has no number.
    """
    return ({**fields, "pair": str(whole_number(fields, "idx") // 2)},)


SPEC = TaskSpec(
    name="ax-g",
    title="AX-g",
    labels=RTE.labels,
    text_fields=RTE.text_fields,
    group_field="pair",
    question_field="pair",
    flatten=with_pair,
    templates=RTE.templates,
    label_words=RTE.label_words,
    suite="diagnostic",
    folder=("AX-g", "AXg", "ax-g", "axg"),
    counts={"AX-g": 356},
    metrics=("accuracy", "gender_parity"),
    hub="aps/super_glue:axg",
    source="Rudinger et al. 2018 (Winogender), Poliak et al. 2018; SuperGLUE, arXiv 1905.00537",
    note="Never trained on; scored once by runs of RTE.",
)
