"""From a method's configuration to its module."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

import torch

from core.backbones.load import Backbone
from core.methods._config import MethodConfig
from core.methods._module import PromptMethod


def build_method(
    config: MethodConfig,
    backbone: Backbone,
    generator: torch.Generator,
    words: Sequence[str] = (),
) -> PromptMethod:
    """Build a method's module on the backbone's device, its tensors freshly drawn.

    Args:
        config: The method's settings; ``kind`` names its folder.
        backbone: Frozen backbone; the module keeps a reference and holds none of its tensors.
        generator: CPU generator that every initial value is drawn from.
        words: Label words, for a method that ``starts_from_words``; the others never see them.

    Raises:
        ConfigError: If the backbone's tokenizer does not know a word that the method starts from.
    """
    module = import_module(f"core.methods.{config.kind}.model")
    further = (words,) if config.starts_from_words else ()
    method = cast(PromptMethod, module.build(config, backbone, generator, *further))
    return method.to(backbone.device)
