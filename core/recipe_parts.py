"""Parts of a recipe: task, training, seeds and tuning, and how short forms are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from core.backbones.spec import BackboneChoice
from core.methods import ALIASES, METHODS, MethodConfig, OptimizerName, Part
from core.regimes import REGIMES, RegimeConfig
from core.tasks import TASKS

AUTHORS_PARTS = 4
"""Micro-batches that the authors of the dynamic prompt count as one step."""

if TYPE_CHECKING:
    AnyMethod = MethodConfig
    AnyRegime = RegimeConfig
else:
    AnyMethod = Annotated[Union[tuple(METHODS.values())], Field(discriminator="kind")]  # noqa: UP007
    AnyRegime = Annotated[Union[tuple(REGIMES.values())], Field(discriminator="kind")]  # noqa: UP007


def _method_from_text(value: object) -> object:
    """Accept a kind or one of the paper's names in place of a mapping."""
    if isinstance(value, str):
        return dict(ALIASES.get(value, {"kind": value}))
    if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
        rest = {key: entry for key, entry in value.items() if key != "kind"}
        return {**ALIASES.get(value["kind"], {"kind": value["kind"]}), **rest}
    return value


def _kind_from_text(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


def _pairs_from_mapping(value: object) -> object:
    """Keep a mapping as sorted pairs, which unlike a mapping never change."""
    if not isinstance(value, Mapping):
        return value
    return tuple(sorted(value.items(), key=lambda pair: str(pair[0])))


def _name_from_text(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Word = Annotated[str, Field(max_length=60, pattern=r"^\S+$")]
Words = Annotated[
    tuple[tuple[str, Word], ...],
    BeforeValidator(_pairs_from_mapping),
    PlainSerializer(dict, return_type=dict[str, str]),
]


class TaskChoice(Part):
    """A task by name, or a plain folder of one's own."""

    name: str = Field(
        min_length=1,
        max_length=80,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$",
        title="Task",
        description="Known task, or a name for one's own folder.",
    )
    folder: str = Field(
        default="",
        title="Folder",
        description="Folder with train.jsonl and val.jsonl or test.jsonl; empty: found by name.",
    )
    dataset: str = Field(
        default="",
        pattern=r"^(|latest|[0-9a-f]{16})$",
        title="Data set version",
        description="For an added data set of this name: its version, or latest.",
    )
    template: str = Field(
        default="",
        max_length=40,
        title="Template",
        description="How fields become the input, by name; empty: the task's default.",
    )
    diagnostics: bool = Field(
        default=False,
        title="Diagnostics",
        description="Score the task's diagnostic sets once at the end (RTE: AX-b and AX-g).",
    )
    label_words: Words = Field(
        default=(),
        max_length=256,
        title="Label words",
        description="Class to the word that a verbalizer scores and that prompts may start as, as "
        "{class: word}; a class left out keeps the task's word, or its own name where the task has "
        "none.",
    )
    text_fields: tuple[str, ...] = Field(
        default=(), max_length=4, title="Text fields", description="Only for one's own folder."
    )
    label_field: str = Field(
        default="label", title="Label field", description="Only for one's own folder."
    )
    group_field: str = Field(
        default="",
        title="Group field",
        description="Examples with the same value stay in one split; only for one's own folder.",
    )
    data_version: str = Field(
        default="", title="Data version", description="Digest of the files; filled when queued."
    )

    @model_validator(mode="after")
    def _known_or_folder(self) -> TaskChoice:
        if self.folder and self.dataset and not self.data_version:
            raise ValueError("give folder or dataset, not both")
        if self.name not in TASKS and not self.folder and not self.dataset:
            raise ValueError(
                f"no task named '{self.name}'; known: {', '.join(sorted(TASKS))}; "
                "or give folder: <path> for a task of your own, or dataset: latest for one that "
                "was added to the studio"
            )
        return self

    @model_validator(mode="after")
    def _template_is_known(self) -> TaskChoice:
        is_declared = self.name in TASKS and not self.folder and not self.dataset
        names = TASKS[self.name].template_names if is_declared else ("plain",)
        if is_declared and self.template and self.template not in names:
            raise ValueError(f"template: {self.name} has {', '.join(names)}, not '{self.template}'")
        return self


class Training(Part):
    """How long and how the trainable tensors are trained; the same for all methods of a study."""

    max_updates: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        title="Updates",
        description="Optimiser updates at most, a count; empty: as many as epochs give.",
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        title="Epochs",
        description="Passes over the training examples, a count; used when updates is empty.",
    )
    batch_size: int = Field(
        default=16, ge=1, le=4096, title="Batch size", description="Examples an update, a count."
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        le=4096,
        title="Accumulation",
        description="Parts that the examples of an update pass the backbone in, a count: the same "
        "update with less memory.",
    )
    stepping: Literal["batch", "paper_code"] = Field(
        default="batch",
        title="Stepping",
        description="batch: an update a batch. paper_code: as the authors' scripts step, with "
        "four parts a batch: fixed prompts and pools make an update of each part and clip every "
        "fourth, adap_pos and adap_ins_pos sum the gradients of all four.",
    )
    max_tokens: int = Field(
        default=128,
        ge=8,
        le=8192,
        title="Longest input",
        description="Tokens of an input at most, prompt not counted; longer texts are cut.",
    )
    evaluations: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Evaluations",
        description="Evaluations on dev, evenly spread over the updates, a count.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        title="Patience",
        description="Stop after this many evaluations without a better dev value; empty: never.",
    )
    optimizer: OptimizerName = Field(
        default="adamw",
        title="Optimiser",
        description="adamw: AdamW of torch. adafactor: that of transformers with the given "
        "learning rates, neither scaled nor relative; empty rates then are 0.3 for prompts and "
        "their selectors (SMoP 0.5), all others as for adamw.",
    )
    schedule: Literal["constant", "linear"] = Field(
        default="linear",
        title="Schedule",
        description="Learning rate after warm-up: constant, or linear to zero.",
    )
    warmup: float = Field(
        default=0.06, ge=0, lt=1, title="Warm-up", description="Share of the updates, 0 to 1."
    )
    warmup_updates: int | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        title="Warm-up updates",
        description="Warm-up as a count of updates in the place of its share; empty: the share.",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=10, title="Weight decay", description="Decoupled, per update."
    )
    clip_norm: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        title="Clip norm",
        description="Largest gradient norm over all trainable tensors of a run, once an update.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        title="Precision",
        description="Of the frozen backbone; trained tensors are always float32.",
    )
    backbone_dropout: bool = Field(
        default=False,
        title="Backbone dropout",
        description="Keep dropout on inside the backbone while training.",
    )
    audit: bool = Field(
        default=True,
        title="Audit of choices",
        description="After training, score dev with other choices in the place of a dynamic "
        "prompt's own, to see what they are worth; changes no other number.",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if self.max_updates is not None and self.epochs is not None:
            raise ValueError("give max_updates or epochs, not both")
        return self

    @model_validator(mode="after")
    def _parts_have_examples(self) -> Training:
        if self.accumulation > self.batch_size:
            raise ValueError(
                f"accumulation: {self.batch_size} examples cannot be cut into "
                f"{self.accumulation} parts"
            )
        if self.stepping == "batch":
            return self
        if self.accumulation != AUTHORS_PARTS:
            raise ValueError(
                "stepping: the authors step on four micro-batches, so paper_code needs "
                f"accumulation: {AUTHORS_PARTS}"
            )
        if self.batch_size % AUTHORS_PARTS:
            raise ValueError(
                f"stepping: paper_code needs a batch_size of four equal parts, {self.batch_size} "
                "has none; the authors have 32"
            )
        return self

    def warmup_of(self, total: int) -> int:
        """Count the warm-up's updates among ``total``."""
        if self.warmup_updates is not None:
            return min(self.warmup_updates, total)
        return round(total * self.warmup)

    def updates_for(self, num_examples: int, *, batch: int) -> int:
        """Number of updates for a training set; 6 epochs when nothing is said.

        Args:
            num_examples: Examples of the training set, a count.
            batch: Examples of one update, see ``core.stepping``.
        """
        if self.max_updates is not None:
            return self.max_updates
        per_epoch = -(-num_examples // batch)
        return max(1, round((self.epochs or 6.0) * per_epoch))


class Seeds(Part):
    """Seeds of a study; every pair of a data seed and an init seed is a run."""

    data: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default=(0,),
        min_length=1,
        max_length=100,
        title="Data seeds",
        description="Draw of few-shot examples and order of batches.",
    )
    init: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default=(0,),
        min_length=1,
        max_length=100,
        title="Init seeds",
        description="Initial weights and the selector's noise.",
    )


class Tuning(Part):
    """How settings are chosen: as written, or by trials on dev with fresh seeds afterwards."""

    protocol: Literal["fixed", "tuned"] = Field(
        default="fixed",
        title="Protocol",
        description="fixed: settings as written. tuned: the same number of trials for each method.",
    )
    trials: int = Field(
        default=4,
        ge=2,
        le=64,
        title="Trials",
        description="Settings tried for each method, task, backbone and regime, a count.",
    )
    folds: Literal[1, 5] = Field(
        default=1,
        title="Folds",
        description="1: trials are compared on dev. 5: on the mean over five folds of train, for "
        "tasks under 1,000 examples; the winner is then trained again on all of train.",
    )

    @model_validator(mode="after")
    def _folds_need_trials(self) -> Tuning:
        if self.folds > 1 and self.protocol != "tuned":
            raise ValueError("folds: only with protocol: tuned")
        return self


AnyTask = Annotated[TaskChoice, BeforeValidator(_name_from_text)]
AnyBackbone = Annotated[BackboneChoice, BeforeValidator(_name_from_text)]
MethodEntry = Annotated[AnyMethod, BeforeValidator(_method_from_text)]
RegimeEntry = Annotated[AnyRegime, BeforeValidator(_kind_from_text)]


class RunSeeds(Part):
    """Seeds of one run."""

    data: int = Field(default=0, ge=0, lt=2**31, description="Draw and order of examples.")
    init: int = Field(default=0, ge=0, lt=2**31, description="Initial weights and noise.")
