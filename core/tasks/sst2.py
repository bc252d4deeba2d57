"""SST-2: sentiment of one sentence."""

from core.tasks._spec import TaskSpec

SPEC = TaskSpec(
    name="sst2",
    title="SST-2",
    labels=("negative", "positive"),
    text_fields=("text",),
    suite="single",
    folder=("sst2", "SST-2"),
    counts={"train": 6920, "val": 872, "test": 1821},
    source="Socher et al. 2013, Stanford Sentiment Treebank, sentence level",
)
