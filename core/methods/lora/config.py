"""LoRA: low-rank updates of each layer's query and value maps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.errors import ConfigError
from core.methods._config import (
    BackboneFacts,
    LearningRates,
    MethodConfig,
    ParameterGroup,
    Search,
    head_parameters,
)

ADAPTED_MAPS = 2
"""Maps of each block of attention that get an update: query and value."""


class Config(MethodConfig):
    """W x + (alpha / rank) B A x on the query and value maps of every layer."""

    TITLE: ClassVar[str] = "LoRA"
    SOURCE: ClassVar[str] = "Hu et al. 2022, arXiv 2106.09685, section 4"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(head=1e-2, backbone=1e-3)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search(
            "learning_rates.backbone", (2e-4, 4e-4, 1e-3, 3e-3), "arXiv 2106.09685, D.1, and above"
        ),
        Search("learning_rates.head", (1e-3, 1e-2), "as for fine-tuning and the linear probe"),
    )
    SEPARATE: ClassVar[bool] = True

    kind: Literal["lora"] = "lora"
    rank: int = Field(
        default=8, ge=1, le=256, title="Rank", description="Width of the update, a count."
    )
    alpha: float = Field(
        default=16.0,
        gt=0,
        le=1024,
        title="Alpha",
        description="The update is scaled by alpha / rank, dimensionless.",
    )

    @override
    def describe(self) -> str:
        return (
            f"LoRA: updates of rank {self.rank} on the query and value maps of each layer, and a "
            "linear head; the backbone's weights themselves stay frozen."
        )

    @override
    def require_fit(self, facts: BackboneFacts) -> None:
        if facts.mixed_map:
            raise ConfigError(
                f"On this {facts.family} backbone one map ({facts.mixed_map}) makes queries, keys "
                "and values at once, and which of its outputs are which is not known.",
                field="kind",
                hint="Choose another method, such as prompt_tuning or fine_tuning, or a backbone "
                "with separate query and value maps.",
            )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        inputs = facts.inside or facts.hidden
        queries, values = facts.query_heads or facts.heads, facts.heads
        widths = ADAPTED_MAPS * inputs + (queries + values) * facts.head_dim
        blocks = attention_blocks(facts, with_decoder=not num_outputs)
        return {
            "backbone": blocks * self.rank * widths,
            "head": head_parameters(facts, num_outputs),
        }


def attention_blocks(facts: BackboneFacts, *, with_decoder: bool) -> int:
    """Count the blocks of attention with weights of their own.

    Args:
        facts: Sizes of the backbone.
        with_decoder: True when a verbalizer reads out: a layer of an encoder-decoder's decoder
            attends to itself and to the encoder.
    """
    encoder = facts.distinct_layers or facts.layers
    return encoder + (2 * facts.decoder_layers if with_decoder else 0)
