"""One small random backbone of every family that is proven, with a tokenizer of its kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel

from tests.tiny import make_tiny_bert, make_tiny_electra, make_tiny_roberta, make_tokenizer

BETWEEN = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
ENDING = ("$A [SEP]", "$A [SEP] $B [SEP]")
STARTING = ("[CLS] $A", "[CLS] $A $B")
BARE = ("$A", "$A $B")

SIZES: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 160,
    "initializer_range": 0.2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
WINDOWED = {**GROUPED, "sliding_window": 6}
BART: Mapping[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 160,
    "init_std": 0.2,
}
DEBERTA: Mapping[str, Any] = {
    **SIZES,
    "relative_attention": True,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0,
}
SMALL: Mapping[str, tuple[str, tuple[str, str], Mapping[str, Any]]] = {
    "albert": ("Albert", BETWEEN, {**SIZES, "embedding_size": 16}),
    "electra-small": ("Electra", BETWEEN, {**SIZES, "embedding_size": 16}),
    "distilbert": (
        "DistilBert",
        BETWEEN,
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.2},
    ),
    "mpnet": ("MPNet", BETWEEN, {**SIZES, "pad_token_id": 1}),
    "modernbert": ("ModernBert", BETWEEN, {**SIZES, "num_hidden_layers": 3, "local_attention": 8}),
    "deberta-v2": ("DebertaV2", BETWEEN, DEBERTA),
    "t5": ("T5", ENDING, {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "bart": ("Bart", BETWEEN, BART),
    "gpt2": (
        "GPT2",
        BARE,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160, "initializer_range": 0.2},
    ),
    "opt": ("OPT", STARTING, {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 16, "init_std": 0.2}),
    "llama": ("Llama", STARTING, GROUPED),
    "mistral": ("Mistral", STARTING, WINDOWED),
    "qwen2": ("Qwen2", BARE, GROUPED),
    "qwen3": ("Qwen3", BARE, {**GROUPED, "head_dim": 8}),
    "gemma": ("Gemma", STARTING, {**GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2", STARTING, {**WINDOWED, "head_dim": 8}),
    "gemma3_text": ("Gemma3Text", STARTING, {**WINDOWED, "head_dim": 8}),
}
"""Model of transformers, special tokens, and sizes by name of the family."""


def make_small(name: str, folder: Path, seed: int = 0) -> Path:
    """Save a random backbone of a family (2 layers, width 32, 4 heads) with its tokenizer.

    The global random state is kept.
    """
    title, specials, sizes = SMALL[name]
    return make_random(f"{title}Model", specials, sizes, folder, seed)


def make_random(
    model_class: str,
    specials: tuple[str, str],
    sizes: Mapping[str, Any],
    folder: Path,
    seed: int = 0,
) -> Path:
    """Save a random model of a class of transformers with a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    pad = 1 if sizes.get("pad_token_id") == 1 else 0
    vocab = make_tokenizer(folder, roberta_ids=pad == 1)
    give_specials(folder, specials)
    named = {"pad_token_id": pad, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3}
    chosen = getattr(transformers, model_class)
    config = chosen.config_class(**{"vocab_size": vocab, **named, "sep_token_id": 3, **sizes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = chosen(config)
        model.save_pretrained(folder)
    return folder


def give_specials(folder: Path, specials: tuple[str, str]) -> None:
    """Let a folder's tokenizer put special tokens around one text, and around two."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    known = tokenizer.get_vocab()
    single, pair = specials
    tokenizer.post_processor = TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(name, known[name]) for name in ("[CLS]", "[SEP]") if name in pair],
    )
    tokenizer.save(str(path))
    names = {"pad_token": "[PAD]", "eos_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")


def _builder(name: str) -> Callable[[Path], Path]:
    return lambda folder: make_small(name, folder)


BUILDERS: Mapping[str, Callable[[Path], Path]] = {
    "bert": make_tiny_bert,
    "roberta": make_tiny_roberta,
    "electra": make_tiny_electra,
    **{name: _builder(name) for name in SMALL},
}
