"""Prompt tuning: a soft prompt at a fixed cut around the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.methods._config import (
    Axis,
    BackboneFacts,
    Control,
    LearningRates,
    ParameterGroup,
    Search,
    head_parameters,
)
from core.methods._soft_prompt import SoftPromptConfig

POOL_TO_MATCH = 4
"""Prompts of the pool that a dynamic prompt has where nothing else is said."""


class Config(SoftPromptConfig):
    """l trainable vectors, ``cut`` of them before the input and the others after it.

    Two controls of the dynamic prompt are points of it: ``fixed_best``, whose one cut is chosen on
    dev like a learning rate, and ``capacity``, which has as many vectors as a pool.
    """

    TITLE: ClassVar[str] = "Prompt tuning"
    SOURCE: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691, section 2"
    ALIASES: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "fixed_best": {"cut_from": "dev"},
        "capacity": {"pool_to_match": POOL_TO_MATCH},
    }
    CONTROLS: ClassVar[Mapping[str, Control]] = {
        "fixed_best": Control(
            "Best fixed cut",
            "One cut for all inputs, chosen by trials on dev (protocol tuned): whether a learnt "
            "position gains more than a well-chosen one.",
        ),
        "capacity": Control(
            "As many vectors as a pool",
            f"A plain prompt as large as a pool of {POOL_TO_MATCH}: whether vectors per input gain "
            "more than a larger prompt.",
        ),
    }
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, head=1e-2)
    ADAFACTOR_RATES: ClassVar[LearningRates] = LearningRates(prompt=0.3)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "a decade around the default"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors"})

    kind: Literal["prompt_tuning"] = "prompt_tuning"
    cut_from: Literal["given", "dev"] = Field(
        default="given",
        title="Cut from",
        description="given: the cut as written. dev: the best of it and of every quarter of the "
        "prompt, chosen by trials on dev (the control fixed_best); needs the protocol tuned, with "
        "a trial for each.",
    )
    pool_to_match: int | None = Field(
        default=None,
        ge=2,
        le=64,
        title="Pool to match",
        description="Prompts of the pool that this is compared with, a count: so many times the "
        "virtual tokens are trained (the control capacity); empty: none.",
    )

    @model_validator(mode="after")
    def _controls_agree(self) -> Config:
        if self.pool_to_match is None:
            return self
        if self.cut_from == "dev" or self.cut is not None:
            raise ValueError(
                "pool_to_match: a pool's prompts all stand before the input, so the vectors that "
                "match them have no cut; leave cut and cut_from out"
            )
        return self

    @property
    @override
    def refuses_words(self) -> str:
        return ""

    @property
    @override
    def search(self) -> tuple[Search, ...]:
        if self.cut_from == "given":
            return self.SEARCH
        length = self.num_virtual_tokens
        # The written cut first; where none is, that is all in front, which none stands for.
        quarters = (round(length * quarter / 4) for quarter in range(4, -1, -1))
        cuts = tuple(dict.fromkeys((self.vectors_before, *quarters)))
        return (Search("cut", cuts, "every quarter of the prompt", is_first=True), *self.SEARCH)

    @property
    @override
    def lacks_trials(self) -> str:
        if self.cut_from == "given" or self.cut is not None:
            return ""
        return (
            "fixed_best chooses its cut by trials on dev, and the protocol fixed has none; use "
            f"tuning: {{protocol: tuned, trials: {self.least_trials}}} for the whole study, or "
            "prompt_tuning with a cut"
        )

    @property
    @override
    def prompt_length(self) -> int:
        return self.num_virtual_tokens * (self.pool_to_match or 1)

    @property
    @override
    def vectors_before(self) -> int:
        return self.prompt_length if self.cut is None else self.cut

    @property
    @override
    def label(self) -> str:
        if self.pool_to_match is not None:
            more = f" (pool of {self.pool_to_match})" if self.pool_to_match != POOL_TO_MATCH else ""
            return f"capacity{more}"
        if self.cut_from == "dev":
            return "fixed_best"  # its cut is a setting that is searched, as rates are
        if self.cut is None or self.cut == self.num_virtual_tokens:
            return "prompt_tuning"
        return f"prompt_tuning (cut {self.cut})"

    @property
    @override
    def tried_label(self) -> str:
        is_tried = self.cut_from == "dev" and self.cut is not None
        return f"{self.label} (cut {self.cut})" if is_tried else self.label

    @override
    def describe(self) -> str:
        return (
            f"Trains {self.prompt_length} prompt vectors, {self.fixed_place}{self._control}, and "
            "a linear head; the backbone stays frozen."
        )

    @property
    def _control(self) -> str:
        if self.pool_to_match is not None:
            return f" (as many as a pool of {self.pool_to_match} prompts has)"
        return " (the cut is chosen on dev)" if self.cut_from == "dev" else ""

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        return {
            "prompt": self.prompt_length * facts.width,
            "head": head_parameters(facts, num_outputs),
        }
