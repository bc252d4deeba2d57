"""The recipe of a study and the runs that it stands for: one schema for page, YAML and CLI."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from core.backbones.spec import BackboneChoice
from core.methods import MethodConfig, Part
from core.recipe_parts import (
    AnyBackbone,
    AnyTask,
    MethodEntry,
    RegimeEntry,
    RunSeeds,
    Seeds,
    Training,
    Tuning,
)
from core.regimes import REGIMES, RegimeConfig

MAX_RUNS = 2000


class RunConfig(Part):
    """Everything that one run depends on; stored as canonical JSON and never changed."""

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    task: AnyTask
    backbone: AnyBackbone
    method: MethodEntry
    regime: RegimeEntry
    training: Training
    seeds: RunSeeds
    selection: Literal["dev", "paper_practice"] = Field(
        default="dev",
        description="dev: choose checkpoints on dev, report on test. paper_practice: train on all, "
        "choose on the reported split.",
    )

    def canonical_json(self) -> str:
        """Serialise with sorted keys and no spaces; equal configs give equal text."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def config_hash(self) -> str:
        """Digest without seeds and without the place of the files: what seeds are averaged over."""
        content = self.model_dump(mode="json", exclude={"seeds"})
        if content["task"]["data_version"]:
            content["task"].pop("folder")
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


class Recipe(Part):
    """A study: a question and its grid of tasks, backbones, methods, regimes and seeds."""

    name: str = Field(
        min_length=1, max_length=120, title="Name", description="Name of the study, for people."
    )
    question: str = Field(
        default="", max_length=2000, title="Question", description="What the study asks."
    )
    tasks: tuple[AnyTask, ...] = Field(min_length=1, title="Tasks", description="At least one.")
    methods: tuple[MethodEntry, ...] = Field(
        min_length=1, title="Methods", description="At least one; the paper's names are accepted."
    )
    backbones: tuple[AnyBackbone, ...] = Field(
        default=(BackboneChoice(name="minilm"),),
        min_length=1,
        title="Backbones",
        description="At least one.",
    )
    regimes: tuple[RegimeEntry, ...] = Field(
        default_factory=lambda: (REGIMES["full_data"](kind="full_data"),),
        min_length=1,
        title="Regimes",
        description="At least one.",
    )
    seeds: Seeds = Field(default_factory=Seeds, title="Seeds", description="Data and init seeds.")
    training: Training = Field(
        default_factory=Training, title="Training", description="The same for all methods."
    )
    tuning: Tuning = Field(
        default_factory=Tuning, title="Tuning", description="How settings are chosen."
    )
    selection: Literal["dev", "paper_practice"] = Field(
        default="dev",
        title="Selection",
        description="dev: choose on dev, report on test. paper_practice: choose on what is shown.",
    )

    @model_validator(mode="after")
    def _no_repeats(self) -> Recipe:
        lists: dict[str, tuple[object, ...]] = {
            "tasks": tuple(task.name for task in self.tasks),
            "methods": tuple(method.resolved() for method in self.methods),
            "backbones": self.backbones,
            "regimes": self.regimes,
            "seeds.data": self.seeds.data,
            "seeds.init": self.seeds.init,
        }
        repeated = [name for name, entries in lists.items() if len(set(entries)) < len(entries)]
        if repeated:
            raise ValueError(f"the same entry stands twice in {', '.join(repeated)}")
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> Recipe:
        count = self.num_final_runs
        if self.tuning.protocol == "tuned":
            seeds = len(self.seeds.data) * len(self.seeds.init)
            count += count // seeds * self.tuning.trials
        if count > MAX_RUNS:
            raise ValueError(f"{count} runs are more than the {MAX_RUNS} a study may have")
        return self

    @property
    def num_final_runs(self) -> int:
        """Runs that enter the tables, a count."""
        grid = len(self.tasks) * len(self.methods) * len(self.backbones) * len(self.regimes)
        return grid * len(self.seeds.data) * len(self.seeds.init)

    def runs(self) -> list[RunConfig]:
        """Expand the grid; runs that can be trained together stand next to each other."""
        cells = itertools.product(self.tasks, self.backbones, self.regimes, self.methods)
        return [
            RunConfig(
                task=task,
                backbone=backbone,
                method=method.resolved(),
                regime=regime,
                training=self.training,
                seeds=RunSeeds(data=data_seed, init=init_seed),
                selection=self.selection,
            )
            for task, backbone, regime, method in cells
            for data_seed, init_seed in itertools.product(self.seeds.data, self.seeds.init)
        ]

    def to_yaml(self) -> str:
        """Write the recipe as YAML without the fields that keep their default."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        content["methods"] = [_with_kind(m) for m in self.methods]
        if "regimes" in content:
            content["regimes"] = [_with_kind(r) for r in self.regimes]
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _with_kind(part: MethodConfig | RegimeConfig) -> dict[str, Any] | str:
    rest = part.model_dump(mode="json", exclude_defaults=True)
    rest.pop("kind", None)
    return {"kind": part.kind, **rest} if rest else part.kind


def canonical_json(content: object) -> str:
    """Serialise with sorted keys, no spaces and no NaN."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def group_key(config: RunConfig, run_id: str) -> str:
    """Key that runs must share to be trained in one group.

    Runs share a launch of the frozen backbone when weights and precision are the same; a method
    that changes the backbone, or dropout inside it, gets a key of its own.
    """
    if config.method.SEPARATE or config.training.backbone_dropout:
        return f"alone|{run_id}"
    return f"{config.backbone.source_key}|{config.training.dtype}"
