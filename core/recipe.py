"""The recipe of a study and the runs that it stands for: one schema for page, YAML and CLI."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field, model_validator

from core.backbones.spec import BackboneChoice
from core.methods import MethodConfig, Part
from core.recipe_checks import check
from core.recipe_parts import (
    AnyBackbone,
    AnyTask,
    MethodEntry,
    RegimeEntry,
    RunSeeds,
    Seeds,
    TaskChoice,
    Training,
    Tuning,
)
from core.regimes import REGIMES, RegimeConfig
from core.regimes.multi_task import Config as MultiTask
from core.stepping import examples_an_update, parts_of_update

FEW_SHOT_SEEDS = {"data": (0, 1, 2, 3, 4), "init": (0, 1)}

Selection = Literal["dev", "paper_practice", "fold", "refit"]


class RunConfig(Part):
    """Everything that one run depends on; stored as canonical JSON and never changed."""

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    task: AnyTask
    backbone: AnyBackbone
    method: MethodEntry
    regime: RegimeEntry
    training: Training
    seeds: RunSeeds
    selection: Selection = Field(
        default="dev",
        description="dev: choose checkpoints on dev, report on test. paper_practice: train on all, "
        "choose on the reported split. fold: dev is one fold of train. refit: train on all of "
        "train, keep the last checkpoint.",
    )
    fold: int = Field(
        default=0, ge=0, lt=5, description="Which of the five folds is dev; only for fold."
    )
    partners: tuple[AnyTask, ...] = Field(
        default=(),
        max_length=15,
        description="Further tasks of a joint training, in order; only for multi_task.",
    )
    init_from: str = Field(
        default="",
        description="Run whose trained method the tensors start from; the head starts anew.",
    )

    @property
    def tasks(self) -> tuple[TaskChoice, ...]:
        """All tasks that the run reads, its own first."""
        return (self.task, *self.partners)

    @property
    def trained_tasks(self) -> tuple[TaskChoice, ...]:
        """Tasks that the run is trained on and scored on, one but for joint training."""
        return self.tasks if self.regime.is_joint else (self.task,)

    @property
    def examples_an_update(self) -> int:
        """Examples that one update works on, a count."""
        return examples_an_update(self.training, self.method)

    @property
    def task_label(self) -> str:
        """Name of what is trained on, for tables: ``cb``, or ``cb+rte+wic`` when joint."""
        return "+".join(task.name for task in self.trained_tasks)

    def canonical_json(self) -> str:
        """Serialise with sorted keys and no spaces; equal configs give equal text."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def config_hash(self) -> str:
        """Digest without seeds and without the place of the files: what seeds are averaged over."""
        content = self.model_dump(mode="json", exclude={"seeds"})
        # Fields that came later count only where they are used: what a run is stays what it was.
        if not self.backbone.is_verbalizer:
            content["backbone"].pop("read_out")
        for task in (content["task"], *content["partners"]):
            if not task["label_words"]:
                task.pop("label_words")
            if task["data_version"]:
                task.pop("folder")
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


class Cell(NamedTuple):
    """What the seeds of a study are averaged over: one entry of each of its lists."""

    task: TaskChoice
    partners: tuple[TaskChoice, ...]
    backbone: BackboneChoice
    regime: RegimeConfig
    method: MethodConfig


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
    seeds: Seeds = Field(
        default_factory=Seeds,
        title="Seeds",
        description="Data and init seeds, every pair a run; by default 0 and 0, and where all "
        "regimes are few_shot data 0 to 4 and init 0 to 1.",
    )
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
    init_from: str = Field(
        default="",
        max_length=40,
        title="Start from",
        description="Finished run (S3-12 or its id) whose prompt the runs start from; empty: none.",
    )

    @model_validator(mode="after")
    def _no_repeats(self) -> Recipe:
        lists: dict[str, tuple[object, ...]] = {
            "tasks": tuple(task.name for task in self.tasks),
            "methods": tuple(method.resolved(self.training.optimizer) for method in self.methods),
            "backbones": self.backbones,
            "regimes": self.regimes,
            "seeds.data": self.seeds.data,
            "seeds.init": self.seeds.init,
        }
        repeated = [name for name, entries in lists.items() if len(set(entries)) < len(entries)]
        if repeated:
            raise ValueError(f"the same entry stands twice in {', '.join(repeated)}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _few_shot_needs_seeds(cls, content: object) -> object:
        if isinstance(content, Mapping) and "seeds" not in content:
            regimes = content.get("regimes")
            given = regimes if isinstance(regimes, list | tuple) else ()
            if given and all(_kind_of(regime) == "few_shot" for regime in given):
                return {**content, "seeds": FEW_SHOT_SEEDS}
        return content

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        check(self)
        return self

    @property
    def num_cells(self) -> int:
        """Cells of the grid, each of which is averaged over the seeds, a count."""
        alone, joint, controls = self._regimes()
        per_backbone = len(joint) + len(self.tasks) * (len(alone) + len(controls))
        return per_backbone * len(self.backbones) * len(self.methods)

    @property
    def num_final_runs(self) -> int:
        """Runs that enter the tables, a count."""
        return self.num_cells * len(self.seeds.data) * len(self.seeds.init)

    @property
    def num_trial_runs(self) -> int:
        """Runs that only choose settings, a count; fewer where a method has fewer settings."""
        if self.tuning.protocol != "tuned":
            return 0
        return self.num_cells * self.tuning.trials * self.tuning.folds

    def cells(self) -> Iterator[Cell]:
        """Go through the grid; cells that can be trained together stand next to each other.

        A multi-task regime is one cell for all tasks, and one for each as its control; regimes
        that differ only in what tasks share have the same control.
        """
        alone, together, controls = self._regimes()
        first, *others = self.tasks
        for task, backbone, regime in itertools.product(self.tasks, self.backbones, alone):
            yield from self._methods(task, (), backbone, regime)
        for backbone in self.backbones:
            for joint in together:
                yield from self._methods(first, tuple(others), backbone, joint)
            for task in self.tasks:
                partners = tuple(other for other in self.tasks if other is not task)
                for control in controls:
                    yield from self._methods(task, partners, backbone, control)

    def _regimes(self) -> tuple[list[RegimeConfig], list[MultiTask], list[MultiTask]]:
        """Regimes of one task, of joint runs, and of their controls, each once."""
        alone = [regime for regime in self.regimes if not isinstance(regime, MultiTask)]
        several = [regime for regime in self.regimes if isinstance(regime, MultiTask)]
        joint = [regime.as_joint() for regime in several if regime.is_joint]
        controls = [r.as_single() for r in several if r.control or not r.is_joint]
        return alone, list(dict.fromkeys(joint)), list(dict.fromkeys(controls))

    def _methods(
        self,
        task: TaskChoice,
        partners: tuple[TaskChoice, ...],
        backbone: BackboneChoice,
        regime: RegimeConfig,
    ) -> Iterator[Cell]:
        for method in self.methods:
            yield Cell(task, partners, backbone, regime, method)

    def runs(self) -> list[RunConfig]:
        """Expand the grid; runs that can be trained together stand next to each other."""
        return [
            RunConfig(
                task=cell.task,
                partners=cell.partners,
                backbone=cell.backbone,
                method=cell.method.resolved(self.training.optimizer),
                regime=cell.regime,
                training=self.training,
                seeds=RunSeeds(data=data_seed, init=init_seed),
                selection=self.selection,
                init_from=self.init_from,
            )
            for cell in self.cells()
            for data_seed, init_seed in itertools.product(self.seeds.data, self.seeds.init)
        ]

    def to_yaml(self) -> str:
        """Write the recipe as YAML without the fields that keep their default."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        content["methods"] = [_with_kind(m) for m in self.methods]
        if "regimes" in content:
            content["regimes"] = [_with_kind(r) for r in self.regimes]
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _kind_of(regime: object) -> object:
    """Kind of a regime as a recipe may give it: by name, as a mapping, or ready."""
    if isinstance(regime, Mapping):
        return regime.get("kind")
    return regime.kind if isinstance(regime, RegimeConfig) else regime


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

    Runs share a launch of the frozen backbone when weights and precision are the same, and when
    they cut their batches into the same parts; a method that changes the backbone, or dropout
    inside it, gets a key of its own.
    """
    if config.method.SEPARATE or config.training.backbone_dropout:
        return f"alone|{run_id}"
    shared = f"{config.backbone.source_key}|{config.training.dtype}"
    parts = parts_of_update(config.training, config.method)
    return shared if parts == 1 else f"{shared}|{parts} parts"
