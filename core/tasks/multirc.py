"""MultiRC: is an answer to a question about a passage right; a question may have several."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.tasks._fields import mapping, mappings, text, whole_number
from core.tasks._spec import TaskSpec


def answers(fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Turn a passage into one example an answer; a label is absent where the file hides it.

    Raises:
        ValueError: If a part of the nested line is missing or of another type.
    """
    passage, number = mapping(fields, "passage"), whole_number(fields, "idx")
    found: list[Mapping[str, Any]] = []
    for question in mappings(passage, "questions"):
        asked = whole_number(question, "idx")
        for answer in mappings(question, "answers"):
            given = whole_number(answer, "idx")
            found.append(
                {
                    "passage": text(passage, "text"),
                    "question": text(question, "question"),
                    "answer": text(answer, "text"),
                    "question_id": f"{number}/{asked}",
                    "idx": {"passage": number, "question": asked, "answer": given},
                    **({"label": answer["label"]} if "label" in answer else {}),
                }
            )
    return found


SPEC = TaskSpec(
    name="multirc",
    title="MultiRC",
    labels=("no", "yes"),
    # Three official training answers are empty, so an answer may be.
    text_fields=("passage", "question"),
    inputs=("passage", "question", "answer"),
    group_field="passage",
    label_map={"0": "no", "1": "yes"},
    question_field="question_id",
    flatten=answers,
    templates={
        "paper_code": ("question: {question} answer: {answer}. paragraph: {passage}",),
        "p_tuning_v2": ("{passage}", "{question} {answer}"),
    },
    label_words={"no": "no", "yes": "yes"},
    suite="superglue",
    folder=("MultiRC", "multirc"),
    counts={"train": 27243, "val": 4848, "test": 9693},
    units=("passages", "questions", "answers"),
    metrics=("accuracy", "f1a", "exact_match"),
    official=("f1a", "exact_match"),
    hub="aps/super_glue:multirc",
    source="Khashabi et al. 2018; SuperGLUE, arXiv 1905.00537",
    note="Examples are answers; accuracy over answers is the paper's metric, not the official one.",
)
