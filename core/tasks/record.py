"""ReCoRD: which entity of a news text fills the gap of a query."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.tasks._fields import mapping, mappings, text, whole_number
from core.tasks._spec import TaskSpec

GAP = "@placeholder"
HIGHLIGHT = "\n@highlight\n"


def _entities(passage: Mapping[str, Any]) -> tuple[str, ...]:
    """Distinct texts of a passage's entities, in order; their last character is included."""
    words = text(passage, "text")
    found: dict[str, None] = {}
    for entity in mappings(passage, "entities"):
        start, end = whole_number(entity, "start"), whole_number(entity, "end")
        if not start <= end < len(words):
            raise ValueError(f"an entity stands at {start} to {end}, outside the passage")
        found[words[start : end + 1]] = None
    return tuple(found)


def queries(fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Turn a passage into one example a query; ``right`` is absent where the file hides answers.

    Raises:
        ValueError: If a part of the nested line is missing or of another type, a query has no gap,
            or no answer is among the entities.
    """
    passage, number = mapping(fields, "passage"), whole_number(fields, "idx")
    words, choices = text(passage, "text"), _entities(passage)
    article = words.replace(HIGHLIGHT, " ")
    found: list[Mapping[str, Any]] = []
    for query in mappings(fields, "qas"):
        asked = text(query, "query")
        if GAP not in asked:
            raise ValueError(f"a query has no {GAP}: {asked[:40]}")
        example: dict[str, Any] = {
            "passage": words,
            "article": article,
            "query": asked,
            "choices": choices,
            "idx": {"passage": number, "query": whole_number(query, "idx")},
        }
        if query.get("answers"):
            wanted = {text(answer, "text") for answer in mappings(query, "answers")}
            right = tuple(i for i, choice in enumerate(choices) if choice in wanted)
            if not right:
                raise ValueError(f"no answer is among the passage's entities: {asked[:40]}")
            example["right"] = right
        found.append(example)
    return found


def with_choice(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add ``filled``: the query with the row's choice in its gap."""
    return {**fields, "filled": fields["query"].replace(GAP, fields["choice"])}


SPEC = TaskSpec(
    name="record",
    title="ReCoRD",
    labels=(),
    text_fields=("passage", "query"),
    group_field="passage",
    kind="choices",
    flatten=queries,
    derive=with_choice,
    can_be_typed=False,
    templates={
        "filled_query": ("{filled}", "{article}"),
        "article_first": ("{article}", "{filled}"),
    },
    suite="superglue",
    folder=("ReCoRD", "record"),
    counts={"train": 100730, "val": 10000, "test": 10000},
    units=("passages", "queries"),
    metrics=("record_f1", "record_em"),
    official=("record_f1", "record_em"),
    hub="aps/super_glue:record",
    source="Zhang et al. 2018, arXiv 1810.12885; SuperGLUE, arXiv 1905.00537",
    note="The paper has no ReCoRD; examples are queries, the choices a passage's entities.",
)
