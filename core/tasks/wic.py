"""WiC: does a word mean the same in two sentences."""

import re
from collections.abc import Mapping
from typing import Any

from core.tasks._fields import text, whole_number
from core.tasks._spec import TaskSpec

MARKED = {"marked1": 1, "marked2": 2}


def _marked(fields: Mapping[str, Any], number: int) -> str:
    """Return a sentence with stars around the word.

    The place is the file's; where there is none (typed, or a copy without places) it is the first
    word that begins like the wanted one.

    Raises:
        ValueError: If the place lies outside the sentence, or there is no such word.
    """
    sentence = text(fields, f"sentence{number}")
    if f"start{number}" in fields:
        start, end = whole_number(fields, f"start{number}"), whole_number(fields, f"end{number}")
        if end > len(sentence) or not sentence[start:end].strip():
            raise ValueError(
                f"start{number} {start} to end{number} {end} is no word of sentence{number}, "
                f"which has {len(sentence)} characters"
            )
    else:
        found = re.search(rf"\b{re.escape(text(fields, 'word').strip())}\w*", sentence, re.I)
        if found is None:
            raise ValueError(
                f"'{text(fields, 'word')}' does not occur in sentence{number}; give the word as it "
                "stands there"
            )
        start, end = found.span()
    return f"{sentence[:start]}*{sentence[start:end]}*{sentence[end:]}"


class _MarkedWhenRead(dict[str, Any]):
    """Fields without places: only a template that shows the word's place has to find it."""

    def __missing__(self, name: str) -> str:
        if name not in MARKED:
            raise KeyError(name)
        return _marked(self, MARKED[name])


def with_marks(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add ``marked1`` and ``marked2``: the sentences with stars around the word.

    Raises:
        ValueError: If a place lies outside its sentence; without places, when a template asks for
            the mark and the word does not occur.
    """
    if not any(f"start{number}" in fields for number in MARKED.values()):
        return _MarkedWhenRead(fields)
    return {**fields, **{name: _marked(fields, number) for name, number in MARKED.items()}}


SPEC = TaskSpec(
    name="wic",
    title="WiC",
    labels=("different", "same"),
    text_fields=("word", "sentence1", "sentence2"),
    group_field="word",
    label_map={"false": "different", "true": "same"},
    derive=with_marks,
    templates={
        "paper_code": ("sentence1: {sentence1} sentence2: {sentence2} word: {word}",),
        "p_tuning_v2": ("{word}: {sentence1}", "{word}: {sentence2}"),
        "marked": ("{word}: {marked1}", "{marked2}"),
    },
    label_words={"different": "no", "same": "yes"},
    suite="superglue",
    folder=("WiC", "wic"),
    counts={"train": 5428, "val": 638, "test": 1400},
    official=("accuracy",),
    hub="aps/super_glue:wic",
    source="Pilehvar and Camacho-Collados 2019; SuperGLUE, arXiv 1905.00537",
    note="The paper's template names the word but not its place; template marked shows the place.",
)
