"""A run's own copy of a backbone, with its language-model head where one reads out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from torch import Tensor, nn

from core.backbones.verbalizer import LanguageHead

BODY, LANGUAGE = "", "language."
"""First parts of the names of a copy's modules and tensors."""


class OwnModel(NamedTuple):
    """A copy that a run changes; what both parts hold in common, they hold in common here, too.

    A tuple is no part of the module that keeps it, so a method's state holds only what it trains.

    Attributes:
        module: Copy of the backbone's module.
        language: Copy of its language-model head; None where none was loaded.
    """

    module: nn.Module
    language: LanguageHead | None = None

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Name all modules, each once."""
        seen: set[nn.Module] = set()
        for prefix, whole in self._parts():
            for name, module in whole.named_modules(memo=seen):
                yield f"{prefix}{name}".rstrip("."), module

    def language_tensors(self) -> dict[str, nn.Parameter]:
        """Name the tensors of the head that the module does not hold, each once."""
        if self.language is None:
            return {}
        held = {id(tensor) for tensor in self.module.parameters()}
        named = self.language.named_parameters()
        return {name: tensor for name, tensor in named if id(tensor) not in held}

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        yield BODY, self.module
        if self.language is not None:
            yield LANGUAGE, self.language


def trainable_copy(module: nn.Module, language: LanguageHead | None) -> OwnModel:
    """Copy everything, with all weights trainable and in float32."""
    own = _copied(module, language)
    for _, part in own._parts():
        part.float().requires_grad_(True)
    return own


def sharing_copy(module: nn.Module, language: LanguageHead | None) -> OwnModel:
    """Copy the structure; all tensors are the frozen ones, until some are replaced."""
    whole = (module, *([language] if language else []))
    tensors = chain.from_iterable(chain(part.parameters(), part.buffers()) for part in whole)
    return _copied(module, language, *tensors)


def _copied(module: nn.Module, language: LanguageHead | None, *shared: Tensor) -> OwnModel:
    known: list[object] = [*shared, *([language.tokenizer] if language else [])]
    return OwnModel(*copy.deepcopy((module, language), {id(item): item for item in known}))
