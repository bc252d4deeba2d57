"""From a method's configuration to its module."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import torch

from core.backbones.load import Backbone
from core.methods._config import MethodConfig
from core.methods._module import PromptMethod


def build_method(
    config: MethodConfig, backbone: Backbone, generator: torch.Generator
) -> PromptMethod:
    """Build a method's module on the backbone's device, its tensors freshly drawn.

    Args:
        config: The method's settings; ``kind`` names its folder.
        backbone: Frozen backbone; the module keeps a reference and holds none of its tensors.
        generator: CPU generator that every initial value is drawn from.
    """
    module = import_module(f"core.methods.{config.kind}.model")
    method = cast(PromptMethod, module.build(config, backbone, generator))
    return method.to(backbone.device)
