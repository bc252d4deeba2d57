"""BoolQ's official validation file cut in two, for machines without the official training file."""

from dataclasses import replace

from core.tasks.boolq import SPEC as BOOLQ

SPEC = replace(
    BOOLQ,
    name="boolq-devsplit",
    title="BoolQ (derived from the official validation file)",
    suite="derived",
    folder=("boolq-devsplit",),
    counts={"train": 2302, "val": 968},
    official=(),
    derived_from=BOOLQ.name,
    hub="",
    note="Train and test are parts of the official validation file, without a common passage; "
    "its numbers are not BoolQ's.",
)
