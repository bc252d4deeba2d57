"""A frozen backbone, loaded from safetensors and checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)
from transformers.utils import logging as library_logging

from core.backbones import deep
from core.backbones import prefix as prefixes
from core.backbones.embed import plain_inputs, word_embeddings
from core.backbones.facts import folder_facts, weights_digest, weights_folder
from core.backbones.language import require_language_head
from core.backbones.masks import MaskMaker
from core.backbones.own import OwnModel, sharing_copy, trainable_copy
from core.backbones.prefix_taps import tap
from core.backbones.spec import BackboneChoice
from core.backbones.verbalizer import LanguageHead, require_equal, take_head
from core.data.tokens import TextTokenizer
from core.errors import BackboneError
from core.methods._config import AnswerForm, BackboneFacts
from core.methods._module import BackboneInputs, TokenBatch
from core.wording import first_line

Precision = Literal["float32", "bfloat16"]
LONGEST_CHECK = 512
SHORT_CHECK = 8
LONGEST_HEAD_CHECK = 16
"""Tokens of a row; the library makes a number for each word of the vocabulary at each of them."""
MODELS: Mapping[AnswerForm, Any] = {
    "": AutoModel,
    "masked": AutoModelForMaskedLM,
    "causal": AutoModelForCausalLM,
    "sequence": AutoModelForSeq2SeqLM,
}
"""What is loaded, by where a verbalizer reads its answer; without one the model alone."""
LAYOUT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25}


class Backbone:
    """A pretrained model whose weights are never changed; no torch module, so nothing owns it.

    Of an encoder-decoder it is the encoder.

    Attributes:
        name: Name in tables.
        facts: Sizes.
        folder: Folder with weights and tokenizer.
        module: The model of transformers: frozen, in evaluation mode, without pooler or head.
        device: Where it lives.
        dtype: Precision of its weights.
        weights_sha256: Digest of the weight files.
        sites: Calls of self-attention in one pass, which take a prefix.
        language: Its language-model head, where it was loaded for a verbalizer.
    """

    def __init__(
        self,
        name: str,
        facts: BackboneFacts,
        folder: Path,
        module: nn.Module,
        digest: str,
        language: LanguageHead | None = None,
    ) -> None:
        self.name = name
        self.facts = facts
        self.folder = folder
        self.module = module
        self.weights_sha256 = digest
        self.language = language
        weight = next(module.parameters())
        self.device = weight.device
        self.dtype = weight.dtype
        accepted = inspect.signature(module.forward).parameters
        self._num_types = int(getattr(module.config, "type_vocab_size", 0) or 0)
        self._takes_types = "token_type_ids" in accepted and self._num_types > 0
        self._takes_positions = "position_ids" in accepted
        is_tapped = tap(module)
        self.sites = prefixes.find_sites(module, facts.width)
        self._has_layers = deep.hook_layers(module, facts.width, facts.layers)
        is_ready = bool(self.sites) and not is_tapped
        self._masks = MaskMaker(module.config, facts.kind, is_ready=is_ready)

    @property
    def answer_form(self) -> AnswerForm:
        """Where its language-model head says the answer; empty: none was loaded."""
        return self.language.form if self.language else ""

    def embed(self, token_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length hidden"]:
        """Look up the frozen word embeddings."""
        return word_embeddings(self.module, token_ids)

    def forward(
        self, inputs: BackboneInputs, module: nn.Module | None = None
    ) -> Float[Tensor, "batch total hidden"]:
        """Run one pass and return the last hidden states.

        Each row's result is the same whatever rows stand beside it: mask and positions are always
        given in the same form, also when nothing is padded. Columns behind the last position hold
        padding alone; a model that numbers them itself is not given them.

        Args:
            inputs: Rows of one launch shape.
            module: A run's own copy of the model; None: the frozen one.

        Raises:
            BackboneError: If a prefix does not fit the model's layers.
        """
        total = inputs.embeddings.shape[1]
        given = total if self._takes_positions else min(total, self.facts.max_positions)
        extra: dict[str, Tensor] = {}
        if self._takes_types:
            extra["token_type_ids"] = inputs.token_types[:, :given].clamp(max=self._num_types - 1)
        if self._takes_positions:
            extra["position_ids"] = inputs.position_ids
        with self._with_prefix(inputs, module), self._with_deep(inputs, module):
            output = (module or self.module)(
                inputs_embeds=inputs.embeddings[:, :given],
                # A run's own copy may be more precise than this one.
                attention_mask=self._masks(inputs.mask[:, :given], inputs.embeddings.dtype),
                **extra,
            )
        hidden: Tensor = output.last_hidden_state
        return pad(hidden, (0, 0, 0, total - given)) if given < total else hidden

    def trainable_copy(self) -> OwnModel:
        """Copy model and head with all weights trainable, for a run that changes them."""
        return trainable_copy(self.module, self.language)

    def sharing_copy(self) -> OwnModel:
        """Copy the structure of model and head, for a run that replaces some of its tensors."""
        return sharing_copy(self.module, self.language)

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

    def _with_deep(
        self, inputs: BackboneInputs, module: nn.Module | None
    ) -> AbstractContextManager[None]:
        if inputs.deep is None:
            return nullcontext()
        layers = len(inputs.deep.added)
        if module is not None or not self._has_layers or layers != self.facts.layers:
            raise BackboneError(
                f"{self.name} cannot take deep slots: its {self.facts.layers} layers were not "
                "found.",
                hint="Choose injection: input for this backbone.",
            )
        return deep.attach(inputs.deep)


def load_backbone(
    choice: BackboneChoice,
    *,
    offline: bool,
    device: str | torch.device = "cpu",
    dtype: Precision = "float32",
) -> Backbone:
    """Load a backbone, freeze it, and check that our inputs give the library's own result.

    Args:
        choice: Which backbone, and whether its language-model head is read.
        offline: Never ask the Hub.
        device: Device of torch.
        dtype: Precision of its weights.

    Raises:
        BackboneError: If files are missing or damaged, weights are missing from them, or the
            check fails.
    """
    folder = weights_folder(choice, offline)
    facts = folder_facts(folder)
    if choice.is_verbalizer:
        require_language_head(facts, choice.source)
    form: AnswerForm = facts.language_head if choice.is_verbalizer else ""
    tokenizer = TextTokenizer(folder, form)
    facts = replace(facts, lead=tokenizer.lead)
    prefixes.register()
    model = _load_model(folder, getattr(torch, dtype), form).to(device)
    batch = _check_batch(model, facts, LONGEST_HEAD_CHECK)
    head, logits = None, None
    if form:
        head, logits = take_head(model, facts, tokenizer, batch, choice.source)
    module = _body(model, facts, form)
    digest = weights_digest(folder)
    backbone = Backbone(choice.label, facts, folder, module, digest, head)
    _check_kind(backbone)
    _check_layout(backbone)
    if head is not None and logits is not None:
        inputs = plain_inputs(backbone.embed(batch.token_ids), batch, facts)
        with torch.no_grad():
            hidden = backbone.forward(inputs)
        require_equal(head, hidden, inputs, logits)
    return backbone


def _load_model(folder: Path, dtype: torch.dtype, form: AnswerForm) -> Any:
    """Load a model of transformers, frozen and in evaluation mode, with the head for a form."""
    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Its report tells of poolers and heads that are never read; what is missing is checked below.
    library_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ours = (
            prefixes.ATTENTION
            if _has_sdpa(MODEL_MAPPING[type(config)])
            else prefixes.EAGER_ATTENTION
        )
        try:
            model, report = _from_files(folder, dtype, form, ours)
        except KeyError as error:
            if error.args != (ours,):
                raise
            # Its attention cannot be exchanged for one that takes a prefix; prompts need none.
            model, report = _from_files(folder, dtype, form, "eager")
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
    for part in model.modules():
        if getattr(part, "gradient_checkpointing", False):
            part.gradient_checkpointing = False  # a pass that is made again would lack its prefix
    model.requires_grad_(False)
    return model.eval()


def _from_files(folder: Path, dtype: torch.dtype, form: AnswerForm, attention: str) -> Any:
    """Return the model, and what the library says of missing tensors."""
    return MODELS[form].from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )


def _body(model: Any, facts: BackboneFacts, form: AnswerForm) -> nn.Module:
    """Return what makes the hidden states of the text, without pooler and head."""
    module = model.base_model if form else model
    if facts.kind == "encoder_decoder":
        module = model.get_encoder()
    if getattr(module, "pooler", None) is not None:
        module.pooler = None  # never read: every task has its own read-out and head
    module.config.use_cache = False
    body: nn.Module = module
    return body


def _has_sdpa(model_class: object) -> bool:
    classes = model_class if isinstance(model_class, tuple) else (model_class,)
    return any(getattr(item, "_supports_sdpa", False) for item in classes)


def _check_kind(backbone: Backbone) -> None:
    """Let no model that reads from left to right pass for an encoder, as its files may say."""
    if backbone.facts.kind != "encoder":
        return
    ids = _check_batch(backbone.module, backbone.facts, SHORT_CHECK).token_ids[:1]
    other = ids.clone()
    other[:, -1] = ids[:, 1]
    with torch.no_grad():
        first, again = (
            backbone.module(input_ids=given).last_hidden_state[:, 0] for given in (ids, other)
        )
    if torch.equal(first, again):
        raise BackboneError(
            f"{backbone.name} reads from left to right, but its config.json does not say so, so "
            "prompts and read-out would stand where it does not look.",
            hint='Name the class with its language-model head in config.json: "architectures": '
            f'["{type(backbone.module).__name__.removesuffix("Model")}ForCausalLM"].',
        )


def _check_layout(backbone: Backbone) -> None:
    """Compare explicit embeddings, positions and mask with the library's pass on token ids."""
    batch = _check_batch(backbone.module, backbone.facts, LONGEST_CHECK)
    ids, mask = batch.token_ids, batch.mask
    try:
        with torch.no_grad():
            theirs = backbone.module(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            ours = backbone.forward(plain_inputs(backbone.embed(ids), batch, backbone.facts))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BackboneError(
            f"{backbone.name} takes no rows of embeddings: {first_line(error)}.",
            hint="Choose another backbone.",
        ) from error
    difference = float(torch.where(mask[:, :, None], theirs - ours, 0.0).abs().max())
    if not difference <= LAYOUT_TOLERANCE[backbone.dtype]:
        raise BackboneError(
            f"{backbone.name} answers differently for embeddings than for tokens "
            f"(difference {difference:.2g}), so prompts would not stand where they should.",
            hint="Choose another backbone.",
        )


def _check_batch(module: Any, facts: BackboneFacts, most: int) -> TokenBatch:
    """Make two rows to try a model on, at most ``most`` tokens long.

    One row is whole and one padded; where attention has a window, both are longer than it.
    """
    device = next(module.parameters()).device
    window = int(getattr(module.config, "sliding_window", 0) or 0)
    length = min(8 + 2 * window, most, facts.max_positions)
    padding = getattr(module.config, "pad_token_id", None)
    ids = torch.arange(2 * length, device=device).reshape(2, length) % facts.vocab
    ids = torch.where(ids == padding, 3, ids) if padding is not None else ids
    mask = torch.arange(length, device=device) < torch.tensor([[length], [length - 3]]).to(device)
    return TokenBatch(torch.where(mask, ids, padding or 0), torch.zeros_like(ids), mask)
