"""Backbones that stay loaded from group to group, with the splits prepared for them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch

from core.backbones.load import Backbone, Precision, load_backbone
from core.backbones.spec import BackboneChoice
from core.data.examples import Example
from core.data.tokens import TextTokenizer
from core.recipe import RunConfig
from core.training.features import PreparedSplit, digest_of

KEPT_BACKBONES = 2
KEPT_SPLITS = 24

Item = TypeVar("Item")


class Recent(Generic[Item]):
    """A few things by key; the one not used for the longest time goes first.

    Args:
        capacity: Things kept at most, a count.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[Hashable, Item] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """Return the thing under a key, made on first use."""
        if key not in self._items:
            while len(self._items) >= self._capacity:  # make room first: two may not fit at once
                self._items.popitem(last=False)
            self._items[key] = make()
        self._items.move_to_end(key)
        return self._items[key]


class WarmBackbone:
    """A loaded backbone, its tokenizer and the splits prepared for it.

    Args:
        backbone: The frozen backbone.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.tokenizer = TextTokenizer(backbone.folder, backbone.answer_form)
        self._splits: Recent[PreparedSplit] = Recent(KEPT_SPLITS)

    def split(self, examples: Sequence[Example], max_tokens: int) -> PreparedSplit:
        """Tokenise examples, once for equal examples and lengths."""

        def make() -> PreparedSplit:
            return PreparedSplit(self.tokenizer.encode_all(examples, max_tokens))

        return self._splits.get((digest_of(examples), max_tokens), make)


class WarmBackbones:
    """Backbones that stay loaded, with their caches; the two used last are kept.

    Making one sets torch up for the process: threads and deterministic algorithms.

    Args:
        offline: Never ask a model hub.
        threads: CPU threads, a count; 0 leaves the choice to torch.
        device: Where backbones are loaded to.
    """

    def __init__(self, offline: bool, threads: int = 0, device: str = "cpu") -> None:
        self._offline = offline
        self.device = device
        self._loaded: Recent[WarmBackbone] = Recent(KEPT_BACKBONES)
        if threads:
            torch.set_num_threads(threads)
        if device.startswith("cuda"):  # cuBLAS is deterministic only with a workspace of its own
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Warn only: a kernel without a deterministic form shall not end a run.
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling fresh memory only helps to find reads of it, and costs time on every tensor.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def get(self, choice: BackboneChoice, dtype: Precision) -> WarmBackbone:
        """Return a loaded backbone.

        Raises:
            BackboneError: If it cannot be loaded.
        """

        def make() -> WarmBackbone:
            return WarmBackbone(
                load_backbone(choice, offline=self._offline, device=self.device, dtype=dtype)
            )

        return self._loaded.get((choice.source_key, dtype), make)

    def for_run(self, config: RunConfig) -> WarmBackbone:
        """Return the backbone of a run; raises like ``get``."""
        return self.get(config.backbone, config.training.dtype)
