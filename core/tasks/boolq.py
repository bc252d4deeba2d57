"""BoolQ: a yes/no question about a passage."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="boolq",
    title="BoolQ",
    labels=("no", "yes"),
    text_fields=("question", "passage"),
    group_field="passage",
    label_map={"false": "no", "true": "yes"},
    suite="superglue",
    folder=("BoolQ", "boolq"),
    counts={"train": 9427, "val": 3270},
    hub="aps/super_glue:boolq",
    source="Clark et al. 2019, arXiv 1905.10044; SuperGLUE, arXiv 1905.00537",
)
