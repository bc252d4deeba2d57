"""Families of models: what the names in their files mean, and their sizes; read without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.backbones.language import language_facts
from core.backbones.library import require_known_family
from core.errors import BackboneError
from core.methods._config import BackboneFacts, BackboneKind

UNLIMITED_POSITIONS = 8192
"""Longest input of a model that knows distances alone: as long as the longest rows made."""

HEADS = (
    "classifier.", "cls.", "discriminator_predictions.", "generator_predictions.", "lm_head.",
    "logit_scale", "pooler.", "predictions.", "qa_outputs.", "score.", "vocab_layer_norm.",
    "vocab_projector.", "vocab_transform.",
)  # fmt: skip
"""First parts of the names of tensors that belong to a head and not to the model below it."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "d_model", "n_embd", "dim"),
    "layers": ("encoder_layers", "num_hidden_layers", "num_layers", "n_layer", "n_layers"),
    "heads": ("encoder_attention_heads", "num_attention_heads", "num_heads", "n_head", "n_heads"),
    "head_dim": ("head_dim", "d_kv"),
    "embedding": ("embedding_size", "word_embed_proj_dim"),
    "positions": ("max_position_embeddings", "n_positions", "max_seq_len"),
}
"""How config.json may call a size; the first name that it holds counts."""

DISTANCES = (
    "relative_attention_num_buckets", "rope_parameters", "rope_theta", "rope_scaling",
    "rotary_emb_base",
)  # fmt: skip
"""How config.json may say that attention knows distances: by a bias or a rotation."""

FUSED_MAPS = frozenset({"Wqkv", "c_attn", "in_proj", "qkv_proj", "query_key_value"})
"""Last names of maps that make queries, keys and values at once."""
ORDERED_FAMILIES = frozenset({"gpt2", "modernbert", "phi3"})
"""Families whose fused map makes all queries, then all keys, then all values; others mix them."""


@dataclass(frozen=True)
class Family:
    """What is known of a family beforehand; the rest is found in its files.

    Attributes:
        kind: What a pass is: all tokens see each other, or only those before them; of an
            encoder-decoder the encoder is used.
        base: Prefix of the model's tensors in checkpoints that were saved with a head.
        padded_positions: True when positions start behind the padding id.
        has_segments: True when the tokenizer gives the two texts of a row different token types.
        has_distances: True when only distances between tokens are known to the model, so that no
            input is too long.
        has_order: True when attention of an encoder knows distances, by a bias or a rotation,
            whatever config.json says; see ``_has_order``.
        is_projected_back: True when hidden states leave as wide as embeddings came in, however
            wide the layers are.
    """

    kind: BackboneKind = "encoder"
    base: str = ""
    padded_positions: bool = False
    has_segments: bool = False
    has_distances: bool = False
    has_order: bool = False
    is_projected_back: bool = False


_ROBERTA = Family(base="roberta.", padded_positions=True)
_DECODER = Family(kind="decoder", base="model.")
_T5 = Family(kind="encoder_decoder", has_order=True, has_distances=True)

FAMILIES: Mapping[str, Family] = {
    "albert": Family(base="albert.", has_segments=True),
    "bart": Family(kind="encoder_decoder", base="model."),
    "bert": Family(base="bert.", has_segments=True),
    "camembert": _ROBERTA,
    "deberta-v2": Family(base="deberta.", has_segments=True),
    "distilbert": Family(base="distilbert."),
    "electra": Family(base="electra.", has_segments=True),
    "gemma": _DECODER,
    "gemma2": _DECODER,
    "gemma3_text": _DECODER,
    "gpt2": Family(kind="decoder", base="transformer."),
    "llama": _DECODER,
    "mistral": _DECODER,
    "modernbert": Family(base="model.", has_order=True),
    "mpnet": Family(base="mpnet.", padded_positions=True, has_order=True),
    "mt5": _T5,
    "opt": Family(kind="decoder", base="model.", is_projected_back=True),
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "roberta": _ROBERTA,
    "roformer": Family(base="roformer.", has_segments=True, has_order=True),
    "t5": _T5,
    "umt5": _T5,
    "xlm-roberta": _ROBERTA,
}


def family_of(config: Mapping[str, Any]) -> Family:
    """Return what is known of a model's family, else what its config.json tells."""
    known = FAMILIES.get(str(config.get("model_type", "")))
    if known is not None:
        return known
    if config.get("is_encoder_decoder"):
        return Family(kind="encoder_decoder")
    names = [str(name) for name in config.get("architectures") or ()]
    is_causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    has_segments = int(config.get("type_vocab_size") or 0) > 1
    return Family(kind="decoder" if is_causal else "encoder", has_segments=has_segments)


def facts_of(
    config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Any]], place: str
) -> BackboneFacts:
    """Read a model's sizes.

    Args:
        config: Content of config.json.
        shapes: ``dtype`` and ``shape`` of each tensor of its safetensors, by name.
        place: Folder or Hub id, for errors.

    Raises:
        BackboneError: If config.json brings code, names no known family, or lacks a size.
    """
    _require_library_model(config, place)
    family = family_of(config)
    try:
        inside, heads = _size(config, "hidden"), _size(config, "heads")
        embedding = _size(config, "embedding", inside)
        hidden = embedding if family.is_projected_back else inside
        first = int(config.get("pad_token_id", 1)) + 1 if family.padded_positions else 0
        language = language_facts(config, shapes)
        # Without a table of positions no input is too long; with one, its limit must be told.
        no_limit = None if any(map(_is_position_table, shapes)) else UNLIMITED_POSITIONS
        positions = _size(config, "positions", no_limit)
        positions = UNLIMITED_POSITIONS if family.has_distances else positions
        return BackboneFacts(
            family=str(config["model_type"]),
            hidden=hidden,
            layers=_size(config, "layers"),
            heads=int(config.get("num_key_value_heads") or heads),
            head_dim=_size(config, "head_dim", inside // heads),
            vocab=int(config["vocab_size"]),
            max_positions=positions - first,
            total_parameters=count_weights(shapes, family),
            first_position=first,
            bias_parameters=count_weights(shapes, family, biases=True),
            embedding=0 if embedding == hidden else embedding,
            kind=family.kind,
            has_segments=family.has_segments,
            is_absolute=family.kind != "decoder" and not _has_order(config, family),
            query_heads=heads if config.get("num_key_value_heads") not in (None, heads) else 0,
            inside=0 if inside == hidden else inside,
            distinct_layers=int(config.get("num_hidden_groups") or 0),
            language_head=language.form,
            language_parameters=language.parameters,
            language_biases=language.biases,
            decoder_layers=language.decoder_layers,
            mixed_map=_mixed_map(config, shapes),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BackboneError(
            f"config.json of {place} lacks or misstates {error}.",
            hint="Without it the studio cannot tell how large the model is; save the model again "
            f"with save_pretrained of transformers, or choose one of a family that is known to "
            f"work: {', '.join(sorted(FAMILIES))}.",
        ) from error


def _require_library_model(config: Mapping[str, Any], place: str) -> None:
    """Refuse what transformers cannot build by itself."""
    if "auto_map" in config:
        raise BackboneError(
            f"{place} brings its own code (auto_map in config.json), which is never run.",
            hint="Choose a model of a family that transformers knows.",
        )
    if not config.get("model_type"):
        raise BackboneError(
            f"config.json of {place} names no model_type.",
            hint="It must hold a model saved by transformers.",
        )
    require_known_family(str(config["model_type"]), place)


def _has_order(config: Mapping[str, Any], family: Family) -> bool:
    """Tell whether attention of an encoder knows distances: by its family or its config.json."""
    if "relative_attention" in config:
        return bool(config["relative_attention"])
    # "relative_key" and its kin stand in files of BERT, too, but the library reads them no more.
    is_told = str(config.get("position_embedding_type", "")).startswith("rot")
    return family.has_order or is_told or any(config.get(name) for name in DISTANCES)


def _is_position_table(name: str) -> bool:
    """Tell whether a tensor holds a vector for each position, by its name."""
    return "position" in name or ".wpe." in f".{name}."


def _mixed_map(config: Mapping[str, Any], shapes: Iterable[str]) -> str:
    """Name the first map that makes queries, keys and values at once in an unknown order."""
    if config["model_type"] in ORDERED_FAMILIES:
        return ""
    names = (name.removesuffix(".weight") for name in sorted(shapes))
    return next((name for name in names if name.rpartition(".")[2] in FUSED_MAPS), "")


def _size(config: Mapping[str, Any], what: str, default: int | None = None) -> int:
    for name in NAMES[what]:
        if config.get(name) is not None:
            return int(config[name])
    if default is None:
        raise KeyError(NAMES[what][0])
    return default


def count_weights(
    shapes: Mapping[str, Mapping[str, Any]], family: Family, *, biases: bool = False
) -> int:
    """Count the numbers in a model's tensors, without heads, pooler and stored buffers.

    Of an encoder-decoder the encoder and its embeddings count.

    Args:
        shapes: ``dtype`` and ``shape`` of each tensor, by name.
        family: The model's family.
        biases: Only the bias terms.
    """
    names: Iterable[str] = shapes
    start = len(family.base)
    inside = {name[start:]: name for name in names if name.startswith(family.base)}
    if not family.base or not inside:
        inside = {name: name for name in shapes}
    if family.kind == "encoder_decoder":
        is_shared = any(name.startswith("shared.") for name in inside)
        inside = {
            short: name
            for short, name in inside.items()
            if short.startswith(("encoder.", "shared."))
            # The same table under a second name.
            and not (is_shared and short.startswith("encoder.embed_tokens."))
        }
    return sum(
        math.prod(shapes[name]["shape"])
        for short, name in inside.items()
        if not short.startswith(HEADS)
        and shapes[name]["dtype"][0] in "FB"
        # Stored masks of GPT-2 are called biases.
        and not (short.endswith("attn.bias") and len(shapes[name]["shape"]) != 1)
        and not short.endswith("masked_bias")
        and (not biases or short.endswith((".bias", ".beta")))
    )
