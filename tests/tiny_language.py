"""Small random models with their language-model heads, of every family that a verbalizer reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from core.backbones.load import Backbone, load_backbone
from core.backbones.spec import BackboneChoice
from core.data.examples import Example
from core.methods._module import TokenBatch
from core.training.batches import to_tokens
from core.training.warm import WarmBackbone
from tests.tiny import make_tokenizer
from tests.tiny_families import BETWEEN, SIZES, SMALL, give_specials

TEXTS = ("the film was great", "she and he are at work in the book", "why")
SENTINEL = "<extra_id_0>"
HEADS: Mapping[str, str] = {
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "albert": "AlbertForMaskedLM",
    "electra-small": "ElectraForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "mpnet": "MPNetForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
    "deberta-v2": "DebertaV2ForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "gpt2": "GPT2LMHeadModel",
    "opt": "OPTForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
"""Class of transformers by name of the family."""

OF_ROBERTA = {**SIZES, "pad_token_id": 1, "max_position_embeddings": 162, "type_vocab_size": 1}
FAMILIES: Mapping[str, tuple[str, tuple[str, str], Mapping[str, Any]]] = {
    **SMALL,
    "bert": ("Bert", BETWEEN, SIZES),
    "roberta": ("Roberta", BETWEEN, OF_ROBERTA),
}


def make_language(
    name: str, folder: Path, seed: int = 0, *, headless: bool = False, **sizes: Any
) -> Path:
    """Save a random model of a family with its language-model head and a tokenizer.

    Args:
        name: Family.
        folder: Where to.
        seed: Seed of the weights; the global random state is kept.
        headless: Save the model below the head alone.
        sizes: Further settings of its configuration.
    """
    title, specials, usual = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    pad = 1 if usual.get("pad_token_id") == 1 else 0
    vocab = make_tokenizer(folder, roberta_ids=pad == 1)
    give_specials(folder, specials)
    if name == "t5":
        path = str(folder / "tokenizer.json")
        tokenizer = Tokenizer.from_file(path)
        vocab += tokenizer.add_special_tokens([SENTINEL])
        tokenizer.save(path)
    named = {"pad_token_id": pad, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3}
    config = getattr(transformers, f"{title}Config")(
        **{"vocab_size": vocab, **named, "sep_token_id": 3, **usual, **sizes}
    )
    kind = f"{title}Model" if headless else HEADS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = getattr(transformers, kind)(config)
        with torch.no_grad():
            for label, tensor in model.named_parameters():
                if label.endswith("bias"):  # fresh ones are zero, and would hide a forgotten one
                    tensor.normal_(std=0.3)
        model.save_pretrained(folder)
    return folder


def verbalizer(folder: Path) -> BackboneChoice:
    """A folder's model, read out by its language-model head."""
    return BackboneChoice(path=str(folder), read_out="verbalizer")


@lru_cache(maxsize=32)
def tiny_language(name: str) -> Backbone:
    """A tiny backbone with its language-model head, made once."""
    return load_backbone(
        verbalizer(make_language(name, Path(mkdtemp(prefix="words-")) / name)), offline=True
    )


def text_batch(backbone: Backbone, length: int = 24, max_tokens: int = 24) -> TokenBatch:
    """Three texts as the backbone reads them in training, padded to a length."""
    examples = [Example(rows=((text,),), label=0, group=text) for text in TEXTS]
    split = WarmBackbone(backbone).split(examples, max_tokens).tokens
    rows = torch.arange(len(TEXTS)).numpy()
    return to_tokens(split, rows, length, backbone.device)


def library_model(backbone: Backbone, name: str) -> PreTrainedModel:
    """The library's own model of the same files, whole."""
    kind: Any = getattr(transformers, HEADS[name])
    model: PreTrainedModel = kind.from_pretrained(backbone.folder, attn_implementation="eager")
    return model.eval()
