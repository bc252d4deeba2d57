"""AX-b: broad-coverage diagnostic, answered by models trained on RTE."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.tasks._fields import text
from core.tasks._spec import TaskSpec
from core.tasks.rte import SPEC as RTE


def as_rte(fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Name the sentences as RTE does; some copies write the number of a line as text.

    Raises:
        ValueError: If a sentence is missing or no text.
    """
    named: dict[str, Any] = {
        "premise": text(fields, "sentence1"),
        "hypothesis": text(fields, "sentence2"),
    }
    number = fields.get("idx")
    if isinstance(number, str) and number.isdecimal():
        named["idx"] = int(number)
    return ({**fields, **named},)


SPEC = TaskSpec(
    name="ax-b",
    title="AX-b",
    labels=RTE.labels,
    text_fields=RTE.text_fields,
    group_field="premise",
    flatten=as_rte,
    templates=RTE.templates,
    label_words=RTE.label_words,
    suite="diagnostic",
    folder=("AX-b", "AXb", "ax-b", "axb"),
    counts={"AX-b": 1104},
    metrics=("matthews", "accuracy"),
    hub="aps/super_glue:axb",
    source="Wang et al. 2018 (GLUE diagnostics); SuperGLUE, arXiv 1905.00537",
    note="Never trained on; scored once by runs of RTE.",
)
