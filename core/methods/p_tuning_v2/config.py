"""P-tuning v2: trainable keys and values in every layer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.methods._config import (
    Axis,
    BackboneFacts,
    LearningRates,
    MethodConfig,
    ParameterGroup,
    Search,
    head_parameters,
)


class Config(MethodConfig):
    """A prefix of l key/value pairs a layer, direct or through a two-layer MLP."""

    TITLE: ClassVar[str] = "P-tuning v2"
    SOURCE: ClassVar[str] = "Liu et al. 2022, arXiv 2110.07602, section 3"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=1e-2, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search(
            "learning_rates.prompt", (1e-3, 3e-3, 1e-2, 3e-2), "arXiv 2110.07602's scripts, widened"
        ),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors"})

    kind: Literal["p_tuning_v2"] = "p_tuning_v2"
    num_virtual_tokens: int = Field(
        default=10,
        ge=1,
        le=512,
        title="Virtual tokens",
        description="Key/value pairs in each layer, a count.",
    )
    prefix_projection: bool = Field(
        default=False,
        title="Prefix projection",
        description="Make the prefix with an MLP (embedding, linear, tanh, linear).",
    )
    projection_size: int = Field(
        default=512,
        ge=1,
        le=4096,
        title="Projection width",
        description="Hidden width of that MLP, a count of units.",
    )

    @property
    @override
    def label(self) -> str:
        return "p_tuning_v2 (MLP)" if self.prefix_projection else "p_tuning_v2"

    @property
    @override
    def default_rates(self) -> LearningRates:
        # Each update of the MLP moves all keys and values at once.
        return (
            LearningRates(prompt=1e-3, head=1e-2) if self.prefix_projection else self.DEFAULT_RATES
        )

    @override
    def describe(self) -> str:
        how = "an MLP makes" if self.prefix_projection else "trains"
        return (
            f"P-tuning v2: {how} {self.num_virtual_tokens} key/value pairs for each layer, and a "
            "linear head is trained; the backbone stays frozen."
        )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        width = 2 * facts.layers * facts.heads * facts.head_dim
        prompt = self.num_virtual_tokens * width
        if self.prefix_projection:
            size = self.projection_size
            prompt = (
                self.num_virtual_tokens * facts.hidden
                + facts.hidden * size
                + size
                + size * width
                + width
            )
        return {"prompt": prompt, "head": head_parameters(facts, num_outputs)}
