"""RTE: does a premise entail a hypothesis."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="rte",
    title="RTE",
    labels=("entailment", "not_entailment"),
    text_fields=("premise", "hypothesis"),
    group_field="premise",
    suite="superglue",
    folder=("RTE", "rte"),
    counts={"train": 2490, "val": 277},
    hub="aps/super_glue:rte",
    source="Dagan et al. 2006 and followers; SuperGLUE, arXiv 1905.00537",
)
