"""WiC: does a word mean the same in two sentences."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="wic",
    title="WiC",
    labels=("different", "same"),
    text_fields=("word", "sentence1", "sentence2"),
    group_field="word",
    label_map={"false": "different", "true": "same"},
    suite="superglue",
    folder=("WiC", "wic"),
    counts={"train": 5428, "val": 638},
    template=("{word}: {sentence1}", "{sentence2}"),
    hub="aps/super_glue:wic",
    source="Pilehvar and Camacho-Collados 2019; SuperGLUE, arXiv 1905.00537",
)
