"""Clauses: does a passage support a claim; a cue tells which clause decides (rule-made)."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="clauses",
    title="Clauses (bundled)",
    labels=("refuted", "supported"),
    text_fields=("text1", "text2"),
    group_field="group",
    suite="bundled",
    folder=("clauses",),
    source="Rule-made for DP Studio; see its datasheet.",
    note="The deciding clause's place is told by a cue; a teaching set, not a benchmark.",
)
