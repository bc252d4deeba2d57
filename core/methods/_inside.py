"""Methods that train a small part of the backbone itself, on a copy that shares the rest."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from core.backbones.load import Backbone
from core.backbones.own import OwnModel
from core.backbones.verbalizer import LanguageHead
from core.methods._config import ParameterGroup
from core.methods._layout import prompt_free
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch


def kept(tensors: Mapping[str, nn.Parameter]) -> nn.ParameterDict:
    """Put tensors into a method's state under the names that they have in a copy."""
    return nn.ParameterDict({name.replace(".", ":"): tensor for name, tensor in tensors.items()})


class InsideMethod(PromptMethod):
    """Passes the text on to an own copy of the backbone; subclasses say what is trained in it.

    Args:
        backbone: Frozen backbone; word embeddings are its own.
        own: Copy whose trained tensors are those of ``trained``; the frozen ones are shared.
        trained: Trained tensors by name.
    """

    def __init__(
        self, backbone: Backbone, own: OwnModel, trained: Mapping[str, nn.Parameter]
    ) -> None:
        super().__init__()
        self._backbone = backbone
        self._own = own
        self.trained = kept(trained)

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Pass the text on, embedded as the frozen backbone does."""
        return prompt_free(self._backbone, batch)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """What is trained inside the copy."""
        return {"backbone": list(self.trained.values())}

    def own_backbone(self) -> nn.Module:
        """Return the copy."""
        return self._own.module

    def own_language(self) -> LanguageHead | None:
        """Return the copy's language-model head."""
        return self._own.language
