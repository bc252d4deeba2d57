"""Desk: one sentence to a support desk, routed to one of eight teams (written for this project)."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="desk",
    title="Desk (bundled)",
    labels=(),
    text_fields=("text",),
    group_field="group",
    suite="bundled",
    folder=("desk",),
    source="Written for DP Studio; see its datasheet.",
    note="A small teaching set, not a benchmark.",
)
