"""Which families have a language-model head, and whether a model's files hold it; without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class LanguageFacts(NamedTuple):
    """What a model's files hold of a language-model head; nothing where the form is empty.

    Attributes:
        form: Where an answer is read.
        parameters: Its weights beside those of the backbone, a count; of an encoder-decoder the
            decoder's, too.
        biases: Those of them that are in bias terms, a count.
        decoder_layers: Layers of that decoder.
    """

    form: AnswerForm = ""
    parameters: int = 0
    biases: int = 0
    decoder_layers: int = 0


def language_facts(
    config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Any]]
) -> LanguageFacts:
    """Tell where an answer is read, and what that takes beside the backbone.

    Args:
        config: Content of config.json.
        shapes: ``dtype`` and ``shape`` of each tensor of its safetensors, by name.
    """
    known = LANGUAGE_FAMILIES.get(str(config["model_type"]))
    if known is None or (known.mark and known.mark not in shapes):
        return LanguageFacts()
    # Of T5 only the first version has a tied one, and scales what goes into it; the library writes
    # both down as tied, and takes the embeddings where a file lacks the matrix of the second.
    is_tied = bool(config.get("tie_word_embeddings", known.is_tied)) and bool(
        config.get("scale_decoder_outputs", True)
    )
    if known.form != "masked":
        if not is_tied and OUTPUT_MATRIX not in shapes:
            return LanguageFacts()
        is_tied = OUTPUT_MATRIX not in shapes
    vocab = int(config["vocab_size"])
    counted, biases, has_bias = 0, 0, False
    for name in (name for name in shapes if name.startswith(known.parts)):
        shape = shapes[name]["shape"]
        # Under another name the embeddings, which the backbone already counts.
        is_again = len(shape) == 2 and shape[0] == vocab and (is_tied or "embed" in name)
        if shape == [vocab]:  # the output matrix's bias, which files may hold twice
            is_again, has_bias = has_bias, True
        if not is_again:
            counted += math.prod(shape)
            biases += math.prod(shape) if name.endswith(("bias", ".beta")) else 0
    layers = 0
    if known.form == "sequence":
        layers = int(config.get("num_decoder_layers") or config["num_layers"])
    return LanguageFacts(known.form, counted, biases, layers)


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
