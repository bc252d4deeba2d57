"""Refuse a method that would train nothing: some models ignore a prompt or prefix silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut, pool
from core.backbones.verbalizer import LanguageHead, WordHead
from core.errors import BackboneError
from core.methods._layout import prompt_free, surround
from core.methods._marginal import marginal_loss
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch

PROBE_TOKENS = (8, 6)
DRAWS = 16
"""Draws of the selector that are tried before something counts as idle."""
PROBED_WORDS = 4
LEAST_CHANGE = 1e-6


def check(backbone: Backbone, method: PromptMethod, read_out: ReadOut = "first") -> None:
    """Try a method on a tiny batch; its tensors and their gradients are left as they were.

    The read-out must react to the prompt at the cuts 0, l/2 and l, it must change under the method
    itself, and the gradient must reach every trained tensor.

    Args:
        backbone: The frozen backbone.
        method: A freshly built method.
        read_out: That of the run.

    Raises:
        BackboneError: If the method would train nothing, or a part of it nothing.
    """
    batch = _batch(backbone, needs_feature=method.needs_feature)
    plain = _read(backbone, prompt_free(backbone, batch), read_out)
    groups = method.parameter_groups()
    trained = [(name, tensor) for name, tensors in groups.items() for tensor in tensors]
    if not trained:
        return
    # What is drawn may leave a part out by chance: a length of 0, or the same choice for all rows.
    tries: list[_Try] = []
    for draw in range(DRAWS):
        tries += [
            _try(backbone, method, batch, read_out, plain, _noise(draw, stage))
            for stage in method.stages
        ]
        idle = _idle_part(method, trained, tries)
        if not idle:
            return
    raise _ignored(backbone, idle)


class _Try(NamedTuple):
    """What one draw showed.

    Attributes:
        has_changed: True when the read-out differs from that of the text alone.
        gradients: Those of some loss for all trained tensors, None where it does not reach.
    """

    has_changed: bool
    gradients: tuple[Tensor | None, ...]


def _noise(draw: int, stage: float) -> SelectorNoise:
    return SelectorNoise(torch.Generator().manual_seed(draw), temperature=1.0, share_done=stage)


def _idle_part(
    method: PromptMethod, trained: Sequence[tuple[str, nn.Parameter]], tries: Sequence[_Try]
) -> str:
    """Name what no try has trained; empty when all is."""
    if not any(one.has_changed for one in tries):
        return "the method's prompt or prefix"
    for place, (name, tensor) in enumerate(trained):
        # A method of several stages trains each of its tensors in one of them at least.
        found = [one.gradients[place] for one in tries]
        gradients = [gradient for gradient in found if gradient is not None]
        # A selector with one choice or clipped scores, and single weights of a backbone, may
        # rightly get zeros.
        is_single = name == "selector" and (tensor.shape[0] == 1 or method.clips_scores)
        may_be_zero = name == "backbone" or is_single
        is_trained = may_be_zero or any(bool(one.any()) for one in gradients)
        is_finite = all(bool(torch.isfinite(one).all()) for one in gradients)
        if not (gradients and is_finite and is_trained):
            return f"a tensor of the group '{name}' {tuple(tensor.shape)}"
    return ""


def _try(
    backbone: Backbone,
    method: PromptMethod,
    batch: TokenBatch,
    read_out: ReadOut,
    plain: Tensor,
    noise: SelectorNoise,
) -> _Try:
    """Make one pass and its gradients."""
    with torch.enable_grad():
        inputs = method.adapt(batch, noise)
        prompt_length = inputs.embeddings.shape[1] - batch.token_ids.shape[1]
        _check_cuts(backbone, batch, read_out, prompt_length)
        own = method.own_backbone()
        output = pool(backbone.forward(inputs, own), inputs, read_out)
        if own is not None and isinstance(read_out, LanguageHead):
            # Its output matrix is trained, too.
            output = WordHead(read_out, range(PROBED_WORDS))(output)
        # Some candidates may use no vectors at all; a copy of the backbone starts as it is.
        alone = plain.repeat(len(output) // len(plain), 1)
        has_changed = own is not None or _differs(output, alone)
        draw = torch.Generator().manual_seed(1)
        weights = torch.randn(output.shape[1], generator=draw).to(output.device)
        values = output @ weights
        if inputs.candidates is not None:
            values = marginal_loss(values, inputs.candidates)
        # Each row with a weight of its own, so that what rows share does not cancel out.
        share = torch.randn(values.shape, generator=draw).to(values.device)
        tensors = [tensor for tensors in method.parameter_groups().values() for tensor in tensors]
        loss = (values * share).sum()
        if not loss.requires_grad:
            return _Try(has_changed, tuple(None for _ in tensors))
        return _Try(has_changed, torch.autograd.grad(loss, tensors, allow_unused=True))


def _batch(backbone: Backbone, *, needs_feature: bool) -> TokenBatch:
    """Make two rows of different lengths out of the middle of the vocabulary."""
    length = max(PROBE_TOKENS)
    start = backbone.facts.vocab // 2
    ids = (torch.arange(2 * length).reshape(2, length) + start) % backbone.facts.vocab
    mask = torch.arange(length) < torch.tensor(PROBE_TOKENS)[:, None]
    ids = torch.where(mask, ids, 0).to(backbone.device)
    batch = TokenBatch(ids, torch.zeros_like(ids), mask.to(backbone.device))
    if not needs_feature:
        return batch
    feature = _read(backbone, prompt_free(backbone, batch), "mean")
    return TokenBatch(batch.token_ids, batch.token_types, batch.mask, feature)


def _read(backbone: Backbone, inputs: BackboneInputs, read_out: ReadOut) -> Tensor:
    with torch.no_grad():
        return pool(backbone.forward(inputs), inputs, read_out)


def _check_cuts(backbone: Backbone, batch: TokenBatch, read_out: ReadOut, length: int) -> None:
    """Compare two prompts at the same cut: the layout alone already moves the text."""
    if not length:
        return
    with torch.no_grad():
        embeddings = backbone.embed(batch.token_ids)
        spread = embeddings.float().std()
    draw = torch.Generator().manual_seed(2)
    drawn = torch.randn(1, length, backbone.facts.width, generator=draw).to(backbone.device)
    prompt = (drawn * spread).expand(len(PROBE_TOKENS), -1, -1)
    for cut in sorted({0, length // 2, length}):
        cuts = torch.full((len(PROBE_TOKENS),), cut, device=backbone.device)
        one, other = (
            _read(backbone, surround(embeddings, batch, vectors, cuts, backbone.facts), read_out)
            for vectors in (prompt, -prompt)
        )
        if not _differs(one, other):
            raise _ignored(backbone, f"a prompt at cut {cut} of {length}")


def _differs(first: Tensor, second: Tensor) -> bool:
    return float((first.detach() - second).abs().max()) > LEAST_CHANGE


def _ignored(backbone: Backbone, what: str) -> BackboneError:
    return BackboneError(
        f"{backbone.name} does not react to {what}: it would train nothing.",
        hint="Choose another method or another backbone.",
    )
