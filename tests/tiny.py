"""Small random backbones, built from configuration objects: no download, a second to make."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("a", "and", "are", "at", "bad", "be", "book", "film", "for", "good", "great", "he", "in"),
    *("is", "it", "my", "no", "not", "of", "on", "please", "she", "the", "they", "this", "to"),
    *("was", "we", "were", "when", "where", "who", "why", "with", "work", "wrong", "yes", "you"),
)
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def tiny_vocabulary() -> dict[str, int]:
    """Special pieces, characters, their continuations and some words: all ASCII text is known."""
    pieces = (*SPECIAL, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *WORDS)
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def make_tokenizer(folder: Path, *, roberta_ids: bool = False) -> int:
    """Write tokenizer.json and tokenizer_config.json; return the vocabulary's size."""
    vocabulary = tiny_vocabulary()
    if roberta_ids:  # padding must be id 1 there: positions start behind it
        vocabulary["[PAD]"], vocabulary["[UNK]"] = 1, 0
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    second = 0 if roberta_ids else 1
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B:{second} [SEP]:{second}",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    return len(vocabulary)


def _save(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def _sizes(vocab: int) -> dict[str, int]:
    return {
        "vocab_size": vocab,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 160,
    }


def make_tiny_bert(folder: Path, seed: int = 0) -> Path:
    """Save a random BERT (2 layers, width 32, 4 heads, 160 positions) with its tokenizer.

    The pooler is saved too, as real checkpoints have one. The global random state is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocab = make_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights ten times the usual size: tiny models then react visibly to every input.
        return _save(BertModel(BertConfig(**_sizes(vocab), initializer_range=0.2)), folder)


def make_tiny_roberta(folder: Path, seed: int = 0) -> Path:
    """Save a random RoBERTa: positions start at 2, one segment id."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = make_tokenizer(folder, roberta_ids=True)
    sizes = {**_sizes(vocab), "max_position_embeddings": 162, "type_vocab_size": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = RobertaConfig(**sizes, pad_token_id=1, initializer_range=0.2)
        return _save(RobertaModel(config), folder)


def make_tiny_electra(folder: Path, seed: int = 0) -> Path:
    """Save a random ELECTRA discriminator whose embeddings are as wide as its layers."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = make_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ElectraConfig(**_sizes(vocab), embedding_size=32, initializer_range=0.2)
        return _save(ElectraModel(config), folder)
