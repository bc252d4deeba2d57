"""Vectors of the frozen backbone that never change, made once per example and kept.

All are made in evaluation mode with every example padded to its own length class, in groups of
the split's own order: what an example gets depends on nothing but the split that it is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.backbones.load import Backbone
from core.backbones.readout import pool
from core.backbones.spec import Pooling
from core.data.examples import Example
from core.data.tokens import TokenisedSplit
from core.methods import MethodConfig
from core.methods._layout import prompt_free
from core.methods._module import PromptMethod, TokenBatch
from core.recipe import canonical_json
from core.training.batches import length_classes, to_tokens

TOKENS_A_CHUNK = 1024
MOST_ROWS = 128


def chunks(lengths: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
    """Cut a split into groups of one length class: (rows, length class) each.

    Rows keep their order within a class; about 1,024 tokens make a group, at most 128 rows.
    """
    classes = length_classes(lengths)
    found: list[tuple[NDArray[np.int64], int]] = []
    for size in np.unique(classes).tolist():
        rows = np.flatnonzero(classes == size)
        count = max(1, min(MOST_ROWS, TOKENS_A_CHUNK // size))
        found += [(rows[start : start + count], size) for start in range(0, len(rows), count)]
    return found


def text_feature(backbone: Backbone, batch: TokenBatch) -> Float[Tensor, "batch hidden"]:
    """Return the masked mean of the last hidden states of one pass without any prompt."""
    with torch.inference_mode():
        inputs = prompt_free(backbone, batch)
        return pool(backbone.forward(inputs), inputs, "mean")


def digest_of(examples: Sequence[Example]) -> str:
    """Return a digest of texts and labels in their order."""
    content = "".join(example.key for example in examples)
    return hashlib.sha256(content.encode()).hexdigest()


class PreparedSplit:
    """A tokenised split with what the frozen backbone makes of it.

    Args:
        tokens: The split's tokens.
    """

    def __init__(self, tokens: TokenisedSplit) -> None:
        self.tokens = tokens
        self.labels = torch.from_numpy(tokens.labels)
        self.chunks = chunks(tokens.lengths)
        self.passes = 0
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, padding to their length class included."""
        return sum(len(rows) * size for rows, size in self.chunks)

    def feature(self, backbone: Backbone) -> Float[Tensor, "examples hidden"]:
        """Return each example's masked mean of the last hidden states without a prompt."""

        def make(batch: TokenBatch) -> Tensor:
            return text_feature(backbone, batch)

        return self._once("feature", backbone, make)

    def pooled(
        self, backbone: Backbone, config: MethodConfig, method: PromptMethod, pooling: Pooling
    ) -> Float[Tensor, "examples hidden"]:
        """Return each example's pooled output when nothing before the head is trained."""
        settings = config.model_dump(mode="json", exclude={"learning_rates"})

        def make(batch: TokenBatch) -> Tensor:
            with torch.inference_mode():
                inputs = method.adapt(batch)
                return pool(backbone.forward(inputs), inputs, pooling)

        return self._once(f"{pooling}|{canonical_json(settings)}", backbone, make)

    def _once(self, name: str, backbone: Backbone, make: Callable[[TokenBatch], Tensor]) -> Tensor:
        if name not in self._kept:
            # Made outside inference mode, because training saves these rows for its backward pass.
            with torch.inference_mode(False), torch.no_grad():
                kept = torch.empty(len(self), backbone.facts.hidden, device=backbone.device)
                for rows, size in self.chunks:
                    place = torch.from_numpy(rows).to(backbone.device)
                    kept[place] = make(to_tokens(self.tokens, rows, size, backbone.device)).float()
            self._kept[name] = kept
            self.passes += len(self)
        return self._kept[name]
