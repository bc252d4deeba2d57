"""A frozen backbone, loaded from safetensors and checked."""

from __future__ import annotations

import copy
import inspect
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging as library_logging

from core.backbones import prefix as prefixes
from core.backbones.embed import plain_inputs, word_embeddings
from core.backbones.facts import folder_facts, weights_digest, weights_folder
from core.backbones.spec import BackboneChoice
from core.errors import BackboneError
from core.methods._config import BackboneFacts
from core.methods._module import BackboneInputs, TokenBatch

Precision = Literal["float32", "bfloat16"]
LAYOUT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25}


class Backbone:
    """A pretrained encoder whose weights are never changed; no torch module, so nothing owns it.

    Attributes:
        name: Name in tables.
        facts: Sizes.
        folder: Folder with weights and tokenizer.
        module: The model of transformers: frozen, in evaluation mode, without pooler or head.
        device: Where it lives.
        dtype: Precision of its weights.
        weights_sha256: Digest of the weight files.
        sites: Calls of self-attention in one pass, which take a prefix.
    """

    def __init__(
        self, name: str, facts: BackboneFacts, folder: Path, module: nn.Module, digest: str
    ) -> None:
        self.name = name
        self.facts = facts
        self.folder = folder
        self.module = module
        self.weights_sha256 = digest
        weight = next(module.parameters())
        self.device = weight.device
        self.dtype = weight.dtype
        accepted = inspect.signature(module.forward).parameters
        self._takes_types = "token_type_ids" in accepted
        self._num_types = int(getattr(module.config, "type_vocab_size", 1))
        self.sites = prefixes.find_sites(module, facts.hidden)

    def embed(self, token_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length hidden"]:
        """Look up the frozen word embeddings."""
        return word_embeddings(self.module, token_ids)

    def forward(
        self, inputs: BackboneInputs, module: nn.Module | None = None
    ) -> Float[Tensor, "batch total hidden"]:
        """Run one pass and return the last hidden states.

        Each row's result is the same whatever rows stand beside it: mask and positions are always
        given in the same form, also when nothing is padded.

        Args:
            inputs: Rows of one launch shape.
            module: A run's own copy of the model; None: the frozen one.

        Raises:
            BackboneError: If a prefix does not fit the model's layers.
        """
        types = inputs.token_types.clamp(max=self._num_types - 1)
        extra = {"token_type_ids": types} if self._takes_types else {}
        with self._with_prefix(inputs, module):
            output = (module or self.module)(
                inputs_embeds=inputs.embeddings,
                attention_mask=self._additive_mask(inputs),
                position_ids=inputs.position_ids,
                **extra,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def copy_module(self) -> nn.Module:
        """Copy the model with all weights trainable and in float32, for a run that changes them."""
        own = copy.deepcopy(self.module).float()
        own.requires_grad_(True)
        return own

    def share_module(self) -> nn.Module:
        """Copy the model's structure; all tensors are the frozen ones, until some are replaced."""
        shared = [*self.module.parameters(), *self.module.buffers()]
        return copy.deepcopy(self.module, memo={id(tensor): tensor for tensor in shared})

    def _additive_mask(self, inputs: BackboneInputs) -> Float[Tensor, "batch 1 total total"]:
        """Zero where attention may look, minus infinity elsewhere; the prefix is added later."""
        total = inputs.mask.shape[1]
        dtype = inputs.embeddings.dtype  # a run's own copy may be more precise than this one
        closed = torch.zeros(inputs.mask.shape, dtype=dtype, device=self.device)
        closed = closed.masked_fill(~inputs.mask, float("-inf"))
        return closed[:, None, None, :].expand(-1, 1, total, total)

    def _with_prefix(
        self, inputs: BackboneInputs, module: nn.Module | None
    ) -> AbstractContextManager[None]:
        if not inputs.prefix:
            return nullcontext()
        found = [(site.heads, site.head_dim) for site in self.sites]
        given = [(keys.shape[1], keys.shape[3]) for keys, _ in inputs.prefix]
        if module is not None or given != found:
            raise BackboneError(
                f"{self.name} cannot take a prefix of {len(given)} layers: its attention calls "
                f"that were found are {len(found)}.",
                hint="Choose a method with an input prompt for this backbone.",
            )
        return prefixes.attach(self.sites, inputs.prefix)


def load_backbone(
    choice: BackboneChoice,
    *,
    offline: bool,
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
) -> Backbone:
    """Load a backbone, freeze it, and check that our inputs give the library's own result.

    Args:
        choice: Which backbone.
        offline: Never ask the Hub.
        device: Device of torch.
        dtype: Precision of its weights.

    Raises:
        BackboneError: If files are missing or damaged, weights are missing from them, or the
            check fails.
    """
    folder = weights_folder(choice, offline)
    facts = folder_facts(folder)
    prefixes.register()
    module = _load_module(folder, getattr(torch, dtype)).to(device)
    digest = weights_digest(folder)
    backbone = Backbone(choice.label, facts, folder, module, digest)
    _check_layout(backbone)
    return backbone


def _load_module(folder: Path, dtype: torch.dtype) -> nn.Module:
    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        module, report = AutoModel.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=prefixes.ATTENTION,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BackboneError(f"The model in {folder} could not be loaded: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        shown = ", ".join(missing[:3])
        raise BackboneError(
            f"The weights in {folder} lack {len(missing)} tensors that config.json asks for "
            f"({shown}).",
            hint="Save the model again; missing weights would be random.",
        )
    if getattr(module, "pooler", None) is not None:
        module.pooler = None  # never read: every task has its own read-out and head
    module.requires_grad_(False)
    frozen: nn.Module = module.eval()
    return frozen


def _check_layout(backbone: Backbone) -> None:
    """Compare explicit embeddings, positions and mask with the library's pass on token ids."""
    module, device = backbone.module, backbone.device
    pad = getattr(module.config, "pad_token_id", None)
    ids = torch.arange(8, device=device).unsqueeze(0) % backbone.facts.vocab
    ids = torch.where(ids == pad, 3, ids) if pad is not None else ids
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        theirs = module(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        batch = TokenBatch(ids, torch.zeros_like(ids), mask)
        ours = backbone.forward(plain_inputs(backbone.embed(ids), batch, backbone.facts))
    difference = float((theirs - ours).abs().max())
    if not difference <= LAYOUT_TOLERANCE[backbone.dtype]:
        raise BackboneError(
            f"{backbone.name} answers differently for embeddings than for tokens "
            f"(difference {difference:.2g}), so prompts would not stand where they should.",
            hint="Choose another backbone.",
        )
