"""A language-model head that says label words at one place of each row.

Only what is asked for is computed: the hidden state of the answer's place is gathered first, then
goes through the head, and only the label words' rows of the output matrix are applied to it. Of an
encoder-decoder the whole decoder belongs here. A backbone's own head is frozen; a run that trains
the backbone itself has a copy of both (``core.backbones.own``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from core.backbones.language import LANGUAGE_FAMILIES
from core.backbones.masks import additive
from core.data.tokens import TextTokenizer
from core.data.words import word_ids
from core.errors import BackboneError
from core.methods._config import AnswerForm, BackboneFacts
from core.methods._module import BackboneInputs, TokenBatch

HEAD_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Largest difference of a logit, as a share of the largest one."""
CHECKED_WORDS = 64


class LanguageHead(nn.Module):
    """Read-out of a backbone that was loaded with its language-model head; see ``take_head``.

    Args:
        model: Model of transformers with its head.
        facts: Sizes of the backbone; they name the form of an answer.
        tokenizer: Its tokenizer, made for that form.
        name: Its short name.

    Attributes:
        name: Short name of the backbone.
        tokenizer: Its tokenizer.
        form: Where an answer is read.
        start: What the decoder of an encoder-decoder reads in front of the answer, shape (1, 2);
            None without one.
        steps: What a row's state goes through in front of the output matrix, in order.
        matrix: The output matrix, a row a word; of many models the word embeddings themselves.
        bias: One number a word; None without.
    """

    start: Tensor | None
    matrix: Tensor
    bias: Tensor | None

    def __init__(
        self, model: Any, facts: BackboneFacts, tokenizer: TextTokenizer, name: str
    ) -> None:
        super().__init__()
        self.name = name
        self.form: AnswerForm = facts.language_head
        self.tokenizer = tokenizer
        config, output = model.config, model.get_output_embeddings()
        self.register_parameter("matrix", output.weight)
        self.register_parameter("bias", output.bias)
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._scale = 1.0
        names = LANGUAGE_FAMILIES[facts.family].steps
        steps, start = [model.get_submodule(name) for name in names], None
        if self.form == "sequence":
            steps = [model.get_decoder()]
            first = getattr(config, "decoder_start_token_id", None)
            first = config.pad_token_id if first is None else first
            start = torch.tensor([[first, tokenizer.sentinel]], device=output.weight.device)
            if getattr(config, "scale_decoder_outputs", False):
                self._scale = facts.hidden**-0.5
        self.steps = nn.ModuleList(steps)
        self.register_buffer("start", start, persistent=False)

    def vectors(
        self, hidden: Float[Tensor, "batch total hidden"], inputs: BackboneInputs
    ) -> Float[Tensor, "batch width"]:
        """Return what the output matrix is applied to, in float32.

        Args:
            hidden: Last hidden states in the final layout.
            inputs: What the backbone was given.
        """
        hidden = hidden.to(self.matrix.dtype)
        if self.start is not None:
            return self._decoded(hidden, inputs, self.start).float()
        column = answer_column(inputs) if self.form == "masked" else inputs.last
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        state = hidden[rows, column]
        for step in self.steps:
            state = step(state)
        return state.float()

    def head_of(self, words: Sequence[str]) -> WordHead:
        """Return the head of a task.

        Args:
            words: Word of each class, in the classes' order.

        Raises:
            ConfigError: If a word cannot be said, or two begin with the same sub-token.
        """
        return WordHead(self, word_ids(words, self.tokenizer, self.name))

    def logits(
        self, vectors: Float[Tensor, "batch width"], ids: Int[Tensor, " words"]
    ) -> Float[Tensor, "batch words"]:
        """Apply the rows of some words to what ``vectors`` returned, in float32."""
        bias = None if self.bias is None else self.bias[ids].float()
        logits = linear(vectors, self.matrix[ids].float(), bias)
        return logits if self._cap is None else torch.tanh(logits / self._cap) * self._cap

    def _decoded(
        self,
        hidden: Float[Tensor, "batch total hidden"],
        inputs: BackboneInputs,
        start: Int[Tensor, "1 two"],
    ) -> Float[Tensor, "batch hidden"]:
        """Return the decoder's last state over everything that the encoder could attend to."""
        rows, total = hidden.shape[:2]
        # Given in full, so that a row never depends on whether its partners are padded.
        seen = inputs.mask[:, None, None, :].expand(-1, 1, start.shape[1], total)
        states: Tensor = self.steps[0](
            input_ids=start.expand(rows, -1),
            encoder_hidden_states=hidden,
            encoder_attention_mask=additive(seen, hidden.dtype),
            use_cache=False,
        ).last_hidden_state
        return states[:, -1] * self._scale


class _Held(NamedTuple):
    """A language-model head, hidden from the state of what holds it."""

    language: LanguageHead


class WordHead(nn.Module):
    """The rows of a language-model head for some words; it trains and stores nothing itself.

    Args:
        language: The head.
        ids: Token of each word.
    """

    ids: Tensor

    def __init__(self, language: LanguageHead, ids: Sequence[int]) -> None:
        super().__init__()
        self._held = _Held(language)
        index = torch.tensor(list(ids), device=language.matrix.device)
        self.register_buffer("ids", index, persistent=False)

    def forward(self, vectors: Float[Tensor, "batch width"]) -> Float[Tensor, "batch words"]:
        """Return the logits of the words."""
        return self._held.language.logits(vectors, self.ids)


def answer_column(inputs: BackboneInputs) -> Int[Tensor, " batch"]:
    """Find the mask in the final layout: the last real token but one, in front of the special one.

    Args:
        inputs: What the backbone was given.
    """
    number = inputs.content_mask.long().cumsum(dim=1)
    is_mask = inputs.content_mask & (number == number[:, -1:] - 1)
    return is_mask.long().argmax(dim=1)


def take_head(
    model: Any, facts: BackboneFacts, tokenizer: TextTokenizer, batch: TokenBatch, name: str
) -> tuple[LanguageHead, Float[Tensor, "batch vocabulary"]]:
    """Take the language-model head off a model.

    Its output matrix is put aside, so that the head's modules end where the matrix begins.

    Args:
        model: Model of transformers with its head, frozen and in evaluation mode.
        facts: Sizes of the backbone; they name the form of an answer.
        tokenizer: Its tokenizer, made for that form.
        batch: Rows to try it on, see ``require_equal``.
        name: Short name of the backbone.

    Returns:
        The head, and the library's own logits of all words at the answer's place.
    """
    head = LanguageHead(model, facts, tokenizer, name)
    logits = _library_logits(model, head, batch)
    output = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is output)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Identity())
    return head, logits


def require_equal(
    head: LanguageHead,
    hidden: Float[Tensor, "batch total hidden"],
    inputs: BackboneInputs,
    expected: Float[Tensor, "batch vocabulary"],
) -> None:
    """Check on a few words that a head gives the library's own logits.

    Args:
        head: The head.
        hidden: Last hidden states of the rows that it was tried on.
        inputs: What the backbone was given for them.
        expected: The library's logits.

    Raises:
        BackboneError: If they differ.
    """
    words = range(0, expected.shape[1], max(1, expected.shape[1] // CHECKED_WORDS))
    with torch.no_grad():
        ours = WordHead(head, words)(head.vectors(hidden, inputs))
    difference = float((ours - expected[:, list(words)]).abs().max())
    allowed = HEAD_TOLERANCE[hidden.dtype] * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise BackboneError(
            f"The language-model head of {head.name} says something else at the answer's place "
            f"than the library's own pass (difference {difference:.2g}).",
            hint="Use read_out: head for this backbone.",
        )


def _library_logits(
    model: Any, head: LanguageHead, batch: TokenBatch
) -> Float[Tensor, "batch vocabulary"]:
    rows = len(batch.token_ids)
    further = {} if head.start is None else {"decoder_input_ids": head.start.expand(rows, -1)}
    with torch.no_grad():
        logits: Tensor = model(
            input_ids=batch.token_ids, attention_mask=batch.mask.long(), **further
        ).logits
    if head.start is not None:
        return logits[:, -1].float()
    column = batch.mask.sum(dim=1) - (2 if head.form == "masked" else 1)
    return logits[torch.arange(rows, device=logits.device), column].float()
