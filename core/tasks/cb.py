"""CB: does a premise entail, contradict or leave open an embedded clause."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="cb",
    title="CB",
    labels=("contradiction", "entailment", "neutral"),
    text_fields=("premise", "hypothesis"),
    group_field="premise",
    templates={
        "paper_code": ("hypothesis: {hypothesis}. premise: {premise}",),
        "p_tuning_v2": ("{premise}", "{hypothesis}"),
    },
    label_words={"contradiction": "no", "entailment": "yes", "neutral": "maybe"},
    suite="superglue",
    folder=("CB", "cb"),
    counts={"train": 250, "val": 56, "test": 250},
    metrics=("accuracy", "macro_f1"),
    official=("accuracy", "macro_f1"),
    hub="aps/super_glue:cb",
    source="De Marneffe et al. 2019, CommitmentBank; SuperGLUE, arXiv 1905.00537",
)
