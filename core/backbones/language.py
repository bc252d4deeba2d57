"""Which families have a language-model head, and whether a model's files hold it; without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import BackboneError
from core.methods._config import AnswerForm, BackboneFacts

OUTPUT_MATRIX = "lm_head.weight"


@dataclass(frozen=True)
class LanguageFamily:
    """What is known of a family's language-model head.

    Attributes:
        form: Where an answer is read.
        mark: Tensor that files with the head hold; empty: the head is the embeddings alone.
        parts: First parts of the names of the head's tensors.
        steps: Modules that a hidden state goes through in front of the output matrix, in order.
        is_tied: True when the output matrix is the embeddings' unless config.json says otherwise.
    """

    form: AnswerForm
    mark: str = ""
    parts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    is_tied: bool = True


_BERT = LanguageFamily(
    "masked", "cls.predictions.transform.dense.weight", ("cls.predictions.",), ("cls",)
)
_ROBERTA = LanguageFamily("masked", "lm_head.dense.weight", ("lm_head.",), ("lm_head",))
_TIED = LanguageFamily("causal", parts=(OUTPUT_MATRIX,))
_UNTIED = LanguageFamily("causal", parts=(OUTPUT_MATRIX,), is_tied=False)

LANGUAGE_FAMILIES: Mapping[str, LanguageFamily] = {
    "albert": LanguageFamily(
        "masked", "predictions.dense.weight", ("predictions.",), ("predictions",)
    ),
    "bert": _BERT,
    "camembert": _ROBERTA,
    "deberta-v2": _BERT,
    "distilbert": LanguageFamily(
        "masked",
        "vocab_transform.weight",
        ("vocab_",),
        ("vocab_transform", "activation", "vocab_layer_norm"),
    ),
    "electra": LanguageFamily(
        "masked", "generator_predictions.dense.weight", ("generator_",), ("generator_predictions",)
    ),
    "gemma": _TIED,
    "gemma2": _TIED,
    "gemma3_text": _TIED,
    "gpt2": _TIED,
    "llama": _UNTIED,
    "mistral": _UNTIED,
    "modernbert": LanguageFamily("masked", "head.dense.weight", ("head.", "decoder."), ("head",)),
    "mpnet": _ROBERTA,
    "opt": _TIED,
    "qwen2": _UNTIED,
    "qwen3": _UNTIED,
    "roberta": _ROBERTA,
    "t5": LanguageFamily(
        "sequence", "decoder.final_layer_norm.weight", ("decoder.", OUTPUT_MATRIX)
    ),
    "xlm-roberta": _ROBERTA,
}
"""Families whose form of an answer is known, by ``model_type``."""


def language_facts(
    config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Any]]
) -> tuple[AnswerForm, int]:
    """Tell where an answer is read, and how many weights that takes beside the backbone.

    Args:
        config: Content of config.json.
        shapes: ``dtype`` and ``shape`` of each tensor of its safetensors, by name.

    Returns:
        Empty and 0 where the family is not known, or its files lack the head.
    """
    known = LANGUAGE_FAMILIES.get(str(config["model_type"]))
    if known is None or (known.mark and known.mark not in shapes):
        return "", 0
    # Of T5 only the first version has a tied one, and scales what goes into it; the library writes
    # both down as tied, and takes the embeddings where a file lacks the matrix of the second.
    is_tied = bool(config.get("tie_word_embeddings", known.is_tied)) and bool(
        config.get("scale_decoder_outputs", True)
    )
    if known.form != "masked":
        if not is_tied and OUTPUT_MATRIX not in shapes:
            return "", 0
        is_tied = OUTPUT_MATRIX not in shapes
    vocab = int(config["vocab_size"])
    counted = 0
    for name, tensor in shapes.items():
        shape = tensor["shape"]
        # Under another name the embeddings, which the backbone already counts.
        is_again = len(shape) == 2 and shape[0] == vocab and (is_tied or "embed" in name)
        if name.startswith(known.parts) and not is_again:
            counted += math.prod(shape)
    return known.form, counted


def require_language_head(facts: BackboneFacts, name: str) -> None:
    """Check that a backbone can say a label word.

    Args:
        facts: What its files hold.
        name: Its name in tables.

    Raises:
        BackboneError: If its family's form of an answer is not known, or the files lack the head.
    """
    if facts.language_head:
        return
    if facts.family not in LANGUAGE_FAMILIES:
        raise BackboneError(
            f"{name} is of the family {facts.family}, for which the studio knows no form of an "
            "answer, so no verbalizer can read it.",
            hint=f"Use read_out: head, or one of {', '.join(sorted(LANGUAGE_FAMILIES))}.",
        )
    raise BackboneError(
        f"The weights of {name} hold no language-model head; a verbalizer would read what random "
        "numbers say.",
        hint="Use read_out: head, or a model that was saved with its language-model head.",
    )
