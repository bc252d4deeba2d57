"""A method and its classification head."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.backbones.readout import pool
from core.backbones.spec import Pooling
from core.methods import MethodConfig
from core.methods._build import build_method
from core.methods._config import GROUPS, ParameterGroup
from core.methods._module import BackboneInputs, PromptMethod
from core.methods._selector import empty_linear
from core.training.streams import generator

HEAD_STD = 0.02


class AdaptedModel(nn.Module):
    """What a run trains: the method's tensors and a linear head; the backbone is outside.

    Args:
        method: Way to adapt the backbone.
        head: Linear map from the pooled hidden state to the labels.
    """

    def __init__(self, method: PromptMethod, head: nn.Linear) -> None:
        super().__init__()
        self.method = method
        self.head = head

    def logits(
        self, hidden: Float[Tensor, "batch total hidden"], inputs: BackboneInputs, pooling: Pooling
    ) -> Float[Tensor, "batch labels"]:
        """Score the labels from the backbone's last hidden states, in float32."""
        return self.score(pool(hidden, inputs, pooling))

    def score(self, pooled: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch labels"]:
        """Score the labels from pooled hidden states, in float32."""
        scores: Tensor = self.head(pooled.float())
        return scores

    @property
    def is_constant(self) -> bool:
        """True when nothing before the head is trained, so that pooled outputs never change."""
        return self.method.own_backbone() is None and not any(
            parameters for parameters in self.method.parameter_groups().values()
        )

    def parameter_groups(self) -> dict[ParameterGroup, list[nn.Parameter]]:
        """Trainable tensors by learning-rate group, in a fixed order, without empty groups."""
        groups = dict(self.method.parameter_groups())
        groups["head"] = [*groups.get("head", []), *self.head.parameters()]
        return {name: groups[name] for name in GROUPS if groups.get(name)}

    def num_trainable(self) -> dict[str, int]:
        """Count the trainable numbers by group."""
        return {
            name: sum(parameter.numel() for parameter in parameters)
            for name, parameters in self.parameter_groups().items()
        }


def new_head(hidden: int, num_labels: int, draw: torch.Generator) -> nn.Linear:
    """Make a head with weights from a normal distribution (std 0.02) and zero bias."""
    head = empty_linear(hidden, num_labels)
    with torch.no_grad():
        head.weight.normal_(0.0, HEAD_STD, generator=draw)
        head.bias.zero_()
    return head


def build_model(
    config: MethodConfig, backbone: Backbone, num_labels: int, init_seed: int
) -> AdaptedModel:
    """Make a run's trainable part, its initial values drawn from the init seed's streams.

    Raises:
        BackboneError: If the method does not work with this backbone.
    """
    method = build_method(config, backbone, generator(init_seed, 0, "init/method"))
    head = new_head(backbone.facts.hidden, num_labels, generator(init_seed, 0, "init/head"))
    return AdaptedModel(method, head).to(backbone.device)
