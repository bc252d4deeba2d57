"""WSC: does a pronoun refer to a span of the text."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.tasks._fields import mapping, text, whole_number
from core.tasks._spec import TaskSpec

PUNCTUATION = ".,;:!?\"'()[]`’‘“”-"
SPAN_MARK, PRONOUN_MARK = "*", "#"
# One line of the official validation file counts one word too few.
SLIPS = (0, 1, -1)


def spans(fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Lift the spans out of ``target`` and check that each stands where the file says.

    Raises:
        ValueError: If a span's text is not the text at its index, counted in words.
    """
    target = mapping(fields, "target")
    words = text(fields, "text").split()
    lifted: dict[str, Any] = {k: v for k, v in fields.items() if k != "target"}
    for name in ("span1", "span2"):
        span, index = text(target, f"{name}_text"), whole_number(target, f"{name}_index")
        places = [index + slip for slip in SLIPS if _stands_at(words, span, index + slip)]
        if not places:
            there = " ".join(words[index : index + max(1, len(span.split()))])
            raise ValueError(f"{name} is '{span}', but word {index} of the text is '{there}'")
        lifted |= {f"{name}_text": span, f"{name}_index": places[0]}
    return (lifted,)


def _bare(word: str) -> str:
    return word.casefold().strip(PUNCTUATION).replace("’", "'").removesuffix("'s")


def _stands_at(words: Sequence[str], span: str, index: int) -> bool:
    wanted = span.split()
    there = words[max(index, 0) : max(index, 0) + len(wanted)]
    return index >= 0 and bool(wanted) and [*map(_bare, there)] == [*map(_bare, wanted)]


def _place(fields: Mapping[str, Any], name: str, words: Sequence[str]) -> int | None:
    """Index of a span in words: the file's, or of a typed one its first occurrence."""
    if f"{name}_index" in fields:
        return whole_number(fields, f"{name}_index")
    span = text(fields, f"{name}_text")
    return next((i for i in range(len(words)) if _stands_at(words, span, i)), None)


def with_marks(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add ``marked``: the text with stars around the span and hash signs around the pronoun.

    Raises:
        ValueError: If a typed span does not occur in the text.
    """
    words = text(fields, "text").split()
    marked = list(words)
    for name, mark in (("span1", SPAN_MARK), ("span2", PRONOUN_MARK)):
        span = text(fields, f"{name}_text")
        first = _place(fields, name, words)
        if first is None:
            raise ValueError(f"'{span}' does not occur in the text")
        last = first + len(span.split()) - 1
        marked[first] = mark + marked[first]
        marked[last] += mark
    return {**fields, "marked": " ".join(marked)}


SPEC = TaskSpec(
    name="wsc",
    title="WSC",
    labels=("different", "same"),
    text_fields=("text", "span1_text", "span2_text"),
    group_field="text",
    label_map={"false": "different", "true": "same"},
    flatten=spans,
    derive=with_marks,
    templates={
        "marked": ("{marked}", "{span2_text}: {span1_text}"),
        "p_tuning_v2": ("{span2_text}: {text}", "{span1_text}"),
    },
    label_words={"different": "no", "same": "yes"},
    suite="superglue",
    folder=("WSC", "wsc"),
    counts={"train": 554, "val": 104, "test": 146},
    official=("accuracy",),
    hub="aps/super_glue:wsc.fixed",
    source="Levesque et al. 2012; SuperGLUE, arXiv 1905.00537",
    note="The paper has no WSC; the default template marks both spans in the text.",
)
