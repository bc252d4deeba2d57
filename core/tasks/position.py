"""Position: the class of one of four words, and a cue tells which (rule-made)."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="position",
    title="Position (bundled)",
    labels=("animal", "food", "land", "tool"),
    text_fields=("text",),
    place_field="place",
    suite="bundled",
    folder=("position",),
    source="Rule-made for DP Studio; see its datasheet.",
    note="Made so that the prompt's place decides, with the backbone of the same name; synthetic.",
)
