"""CB: does a premise entail, contradict or leave open an embedded clause."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="cb",
    title="CB",
    labels=("contradiction", "entailment", "neutral"),
    text_fields=("premise", "hypothesis"),
    group_field="premise",
    suite="superglue",
    folder=("CB", "cb"),
    counts={"train": 250, "val": 56},
    metrics=("accuracy", "macro_f1"),
    hub="aps/super_glue:cb",
    source="De Marneffe et al. 2019, CommitmentBank; SuperGLUE, arXiv 1905.00537",
)
