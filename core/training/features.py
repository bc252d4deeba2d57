"""Vectors of the frozen backbone that never change, made once per row and kept.

All are made in evaluation mode with every example padded to its own length class, in groups of
the split's own order: what an example gets depends on nothing but the split that it is in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut, pool
from core.data.examples import Example
from core.data.tokens import TokenisedSplit
from core.methods import MethodConfig
from core.methods._layout import prompt_free
from core.methods._module import PromptMethod, TokenBatch
from core.recipe import canonical_json
from core.training.batches import length_classes, to_tokens

TOKENS_A_CHUNK = 1024
MOST_ROWS = 128


@dataclass(frozen=True)
class Chunk:
    """Examples that are scored in one pass.

    Attributes:
        units: Indices of the examples, ascending.
        rows: Indices of their rows, each example's together.
        length: Length class that the rows are padded to.
    """

    units: NDArray[np.int64]
    rows: NDArray[np.int64]
    length: int


def chunks(split: TokenisedSplit) -> list[Chunk]:
    """Cut a split into groups of one length class.

    Examples keep their order within a class and their rows stay together; about 1,024 tokens make
    a group, at most 128 rows, but at least one example.
    """
    classes = length_classes(split.unit_lengths)
    found: list[Chunk] = []
    for size in np.unique(classes).tolist():
        units = np.flatnonzero(classes == size)
        most = max(1, min(MOST_ROWS, TOKENS_A_CHUNK // size))
        for part in _parts(units, split.unit_sizes[units], most):
            found.append(Chunk(part, split.rows_of(part), size))
    return found


def _parts(
    units: NDArray[np.int64], sizes: NDArray[np.int64], most: int
) -> Iterator[NDArray[np.int64]]:
    """Yield runs of units that have at most so many rows together."""
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while start < len(units):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield units[start:stop]
        start, before = stop, int(ends[stop - 1])


def text_feature(
    backbone: Backbone, batch: TokenBatch, averages_padding: bool = False
) -> Float[Tensor, "batch hidden"]:
    """Return the mean of the last hidden states of one pass without any prompt.

    Args:
        backbone: The frozen backbone.
        batch: Rows.
        averages_padding: True: over all columns, as the authors of dynamic prompts do, so that it
            depends on how far the rows are padded; False: over the real tokens.
    """
    with torch.inference_mode():
        inputs = prompt_free(backbone, batch)
        hidden = backbone.forward(inputs)
        return hidden.float().mean(dim=1) if averages_padding else pool(hidden, inputs, "mean")


def digest_of(examples: Sequence[Example]) -> str:
    """Return a digest of rows and right answers in their order."""
    content = "".join(f"{e.key}{bool(e.choices)}{e.right}" for e in examples)
    return hashlib.sha256(content.encode()).hexdigest()


class PreparedSplit:
    """A tokenised split with what the frozen backbone makes of it.

    Args:
        tokens: The split's tokens.

    Attributes:
        passes: Rows that went through the backbone for what is kept here.
        charged: Those of each run's caches that it was the first to need, by run id and cache.
    """

    def __init__(self, tokens: TokenisedSplit) -> None:
        self.tokens = tokens
        self.chunks = chunks(tokens)
        self.passes = 0
        self.charged: dict[tuple[str, str], int] = {}
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_rows(self) -> int:
        """Rows of all examples, a count: what passes through the backbone."""
        return self.tokens.num_rows

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of all rows, padding to their length class included."""
        return sum(len(chunk.rows) * chunk.length for chunk in self.chunks)

    def feature(
        self, backbone: Backbone, averages_padding: bool = False
    ) -> Float[Tensor, "rows hidden"]:
        """Return each row's mean of the last hidden states without a prompt.

        Padding that is averaged is that of the row's own length class; see ``text_feature``.
        """

        def make(batch: TokenBatch) -> Tensor:
            return text_feature(backbone, batch, averages_padding)

        return self._once("padded feature" if averages_padding else "feature", backbone, make)

    def pooled(
        self, backbone: Backbone, config: MethodConfig, method: PromptMethod, read_out: ReadOut
    ) -> Float[Tensor, "rows hidden"]:
        """Return each row's pooled output when nothing before the head is trained."""
        settings = config.model_dump(mode="json", exclude={"learning_rates"})

        def make(batch: TokenBatch) -> Tensor:
            with torch.inference_mode():
                inputs = method.adapt(batch)
                return pool(backbone.forward(inputs), inputs, read_out)

        return self._once(f"{read_out}|{canonical_json(settings)}", backbone, make)

    def _once(self, name: str, backbone: Backbone, make: Callable[[TokenBatch], Tensor]) -> Tensor:
        if name not in self._kept:
            # Made outside inference mode, because training saves these rows for its backward pass.
            with torch.inference_mode(False), torch.no_grad():
                kept = torch.empty(self.num_rows, backbone.facts.hidden, device=backbone.device)
                for chunk in self.chunks:
                    place = torch.from_numpy(chunk.rows).to(backbone.device)
                    batch = to_tokens(self.tokens, chunk.rows, chunk.length, backbone.device)
                    kept[place] = make(batch).float()
            self._kept[name] = kept
            self.passes += self.num_rows
        return self._kept[name]
