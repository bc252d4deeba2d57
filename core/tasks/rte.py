"""RTE: does a premise entail a hypothesis."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="rte",
    title="RTE",
    labels=("entailment", "not_entailment"),
    text_fields=("premise", "hypothesis"),
    group_field="premise",
    templates={
        "paper_code": ("sentence1: {premise} sentence2: {hypothesis}",),
        "p_tuning_v2": ("{premise}", "{hypothesis}"),
    },
    label_words={"entailment": "yes", "not_entailment": "no"},
    suite="superglue",
    folder=("RTE", "rte"),
    counts={"train": 2490, "val": 277, "test": 3000},
    official=("accuracy",),
    diagnostics=("ax-b", "ax-g"),
    hub="aps/super_glue:rte",
    source="Dagan et al. 2006 and followers; SuperGLUE, arXiv 1905.00537",
)
