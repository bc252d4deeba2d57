"""P-tuning: a small network makes the vectors of a soft prompt."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.methods._config import (
    Axis,
    BackboneFacts,
    LearningRates,
    ParameterGroup,
    Search,
    head_parameters,
)
from core.methods._soft_prompt import SoftPromptConfig

LSTM_LAYERS = 2
GATES = 4


class Config(SoftPromptConfig):
    """l vectors made by a prompt encoder: an MLP, or a two-layer BiLSTM before it."""

    TITLE: ClassVar[str] = "P-tuning"
    SOURCE: ClassVar[str] = "Liu et al. 2021, arXiv 2103.10385, section 3; backbone frozen"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=1e-3, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (1e-4, 3e-4, 1e-3, 3e-3), "arXiv 2103.10385, and above"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors"})

    kind: Literal["p_tuning"] = "p_tuning"
    encoder: Literal["mlp", "lstm"] = Field(
        default="mlp",
        title="Prompt encoder",
        description="mlp: linear, ReLU, linear. lstm: a two-layer bidirectional LSTM before it.",
    )

    @property
    @override
    def label(self) -> str:
        return "p_tuning" if self.encoder == "mlp" else "p_tuning (LSTM)"

    @property
    @override
    def refuses_words(self) -> str:
        return (
            "a network stands between its first values and the prompt, so no vector would be the "
            "embedding of a word"
        )

    @override
    def describe(self) -> str:
        network = "an MLP" if self.encoder == "mlp" else "a BiLSTM and an MLP"
        return (
            f"P-tuning: {network} makes {self.num_virtual_tokens} prompt vectors, "
            f"{self.fixed_place}, and a linear head is trained; the backbone stays frozen."
        )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        hidden = facts.width
        prompt = self.num_virtual_tokens * hidden + 2 * (hidden * hidden + hidden)
        if self.encoder == "lstm":
            half = hidden // 2
            # Each layer and direction: input weights, recurrent weights, two biases.
            prompt += LSTM_LAYERS * 2 * GATES * half * (2 * half + half + 2)
        return {"prompt": prompt, "head": head_parameters(facts, num_outputs)}
