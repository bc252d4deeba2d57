"""BoolQ: a yes/no question about a passage."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="boolq",
    title="BoolQ",
    labels=("no", "yes"),
    text_fields=("question", "passage"),
    group_field="passage",
    label_map={"false": "no", "true": "yes"},
    templates={
        "paper_code": ("hypothesis: {question}. premise: {passage}",),
        "p_tuning_v2": ("{question}", "{passage}"),
    },
    label_words={"no": "no", "yes": "yes"},
    suite="superglue",
    folder=("BoolQ", "boolq"),
    counts={"train": 9427, "val": 3270, "test": 3245},
    official=("accuracy",),
    hub="aps/super_glue:boolq",
    source="Clark et al. 2019, arXiv 1905.10044; SuperGLUE, arXiv 1905.00537",
)
