"""Checkpoints and adapters: safetensors and JSON in sealed folders, never pickle.

A checkpoint holds

    adapter.safetensors   the method's own tensors and the heads, as they are now
    adapter.json          card: run configuration, tasks, labels
    best.safetensors      the same tensors at the best evaluation, when that is an earlier one
    state.safetensors     the optimiser's state of each trained tensor
    state.json            ``RunProgress``, and the environment that it was reached in
    manifest.json         digests of all these

so that one folder is enough to continue a run exactly. A finished run's adapter is a folder with
``adapter.safetensors``, ``adapter.json`` and a manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from core.backbones.load import Backbone
from core.errors import BackboneChanged, DamagedCheckpoint, StartError
from core.fault_points import reach
from core.methods._config import Part
from core.metrics.judged import Kind
from core.recipe import RunConfig
from core.training.model import AdaptedModel, RunModel, build_model
from core.training.optimizers import optimizer_tensors
from core.training.sealed import Seal, SealedFolder, write_sealed

ADAPTER, CARD, BEST = "adapter.safetensors", "adapter.json", "best.safetensors"
STATE, PROGRESS = "state.safetensors", "state.json"
ENVIRONMENT = "environment"


class TaskCard(Part):
    """One task of an adapter: what its head answers, and how what a person types becomes rows.

    Attributes:
        name: Task name in recipes and tables.
        title: Task name for people.
        labels: Classes in index order; of choices their names, empty where their number varies.
        kind: ``classes``, or ``choices`` that are scored together by one output.
        inputs: Fields that a person types, in order; empty: an input cannot be typed.
        template: Name of the template that made the rows.
        segments: Format strings of the one or two segments of a row.
        spec: Entry of ``core.tasks.TASKS`` that derives fields and choices; empty for own data.
        num_outputs: Outputs of the head, a count.
        words: Word of each class where a verbalizer reads out; empty: the head is a trained one.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    kind: Kind
    inputs: tuple[str, ...]
    template: str
    segments: tuple[str, ...]
    spec: str
    num_outputs: int
    words: tuple[str, ...] = ()


class AdapterCard(Part):
    """What must be known to use an adapter without a database.

    Attributes:
        config: Configuration of the run that trained it.
        tasks: Tasks that it was trained on, the run's own first; several after joint training.
        num_virtual_tokens: Prompt vectors in the input sequence, a count.
        weights_sha256: Digest of the backbone's weights that it was trained on.
    """

    config: RunConfig
    tasks: tuple[TaskCard, ...] = Field(min_length=1)
    num_virtual_tokens: int
    weights_sha256: str

    def task(self, name: str = "") -> TaskCard:
        """Return a task by name; empty: the run's own.

        Raises:
            KeyError: If the adapter was not trained on this task.
        """
        if not name:
            return self.tasks[0]
        return {card.name: card for card in self.tasks}[name]


@dataclass
class RunProgress:
    """Everything about a run at a step boundary that is no tensor.

    Attributes:
        step: Updates done.
        evaluated_step: Updates done at the last evaluation, 0 before the first.
        best_step: Updates done at the best evaluation, 0 before the first.
        best_value: Selecting metric there.
        worse_evaluations: Evaluations since then.
        dev_curve: Selecting metric at each evaluation.
        task_curves: First metric of each task at each evaluation, by task.
        last_dev: All dev metrics of each task at the last evaluation, by task.
        recent_losses: Train losses of each task's last updates, by task.
        examples: Training examples seen, repeats counted.
        forward_equivalents: Rows that went through the backbone, every purpose counted.
        caches: Caches that were needed so far; each is charged at most once, resumed or not.
        seconds: Wall time that the run took part in.
        cpu_seconds: Its share of the process's CPU time.
        environment_changes: Sentences on where it was continued in another environment.
    """

    step: int = 0
    evaluated_step: int = 0
    best_step: int = 0
    best_value: float = 0.0
    worse_evaluations: int = 0
    dev_curve: list[float] = field(default_factory=list)
    task_curves: dict[str, list[float]] = field(default_factory=dict)
    last_dev: dict[str, dict[str, float]] = field(default_factory=dict)
    recent_losses: dict[str, list[float]] = field(default_factory=dict)
    examples: int = 0
    forward_equivalents: float = 0.0
    caches: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    environment_changes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Restored:
    """A checkpoint, read and checked.

    Attributes:
        card: Whose checkpoint it is.
        progress: Where the run stands.
        tensors: Tensors of the model by name.
        moments: Optimiser tensors by ``<key>/<name of the trained tensor>``.
        best: File with the tensors of the best evaluation, None before the first.
        environment: Environment that it was written in, see ``core.training.environment``.
        num_bytes: Size of its files.
    """

    card: AdapterCard
    progress: RunProgress
    tensors: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    best: Path | None
    environment: Mapping[str, Any]
    num_bytes: int


def save_checkpoint(
    target: Path,
    model: RunModel,
    optimizer: torch.optim.Optimizer,
    progress: RunProgress,
    card: AdapterCard,
    best: Path | None,
    environment: Mapping[str, Any],
    last_bytes: int = 0,
) -> Seal:
    """Write a checkpoint that appears whole or not at all.

    Args:
        target: Folder to create.
        model: What the run trains.
        optimizer: Its optimiser.
        progress: Where it stands.
        card: Whose checkpoint it is.
        best: File with the tensors of the best evaluation when that is not now, else None.
        environment: Environment of the process.
        last_bytes: Size of the run's last checkpoint, 0 before the first.

    Raises:
        DamagedCheckpoint: If the file of the best evaluation is not what was written.
        DiskFull: If there is no room for it.
        TrainingError: If the disk refuses for another reason.
    """

    def fill(folder: Path) -> None:
        save_file(model_tensors(model), folder / ADAPTER)
        save_file(optimizer_tensors(model, optimizer), folder / STATE)
        _write_json(folder / PROGRESS, {**asdict(progress), ENVIRONMENT: dict(environment)})
        _write_json(folder / CARD, card.model_dump(mode="json"))
        if best is not None:
            # Bytes of its own: what spoils one checkpoint must leave the others whole.
            SealedFolder(best.parent).copy(best.name, folder / BEST)

    return write_sealed(
        target, fill, last_bytes=last_bytes, passing=lambda place: reach(f"checkpoint.{place}")
    )


def load_checkpoint(folder: Path) -> Restored:
    """Read a checkpoint, every byte checked.

    Raises:
        DamagedCheckpoint: If anything is missing or altered.
    """
    sealed = SealedFolder(folder)
    try:
        card = AdapterCard.model_validate_json(sealed.read(CARD))
        state = json.loads(sealed.read(PROGRESS))
        environment = dict(state.pop(ENVIRONMENT, {}))
        progress = RunProgress(**state)
        tensors = load_tensors(sealed.read(ADAPTER))
        moments = load_tensors(sealed.read(STATE))
    except (ValidationError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedCheckpoint(
            f"{folder} was written by another version of the studio ({error}).",
            hint="Start the run anew.",
        ) from error
    best = None
    if BEST in sealed:
        sealed.read(BEST)
        best = folder / BEST
    elif progress.best_step and progress.best_step == progress.step:
        best = folder / ADAPTER
    return Restored(card, progress, tensors, moments, best, environment, sealed.num_bytes)


def save_adapter(
    target: Path, tensors: Mapping[str, Tensor], card: AdapterCard, last_bytes: int = 0
) -> Seal:
    """Write what inference needs: tensors and card.

    Args:
        target: Folder to create.
        tensors: Tensors of the model by name.
        card: Whose adapter it is.
        last_bytes: Size of the run's last checkpoint, 0 when not known.

    Raises:
        DiskFull: If there is no room for it.
        TrainingError: If the disk refuses for another reason.
    """

    def fill(folder: Path) -> None:
        save_file(dict(tensors), folder / ADAPTER)
        _write_json(folder / CARD, card.model_dump(mode="json"))

    return write_sealed(target, fill, last_bytes=last_bytes)


def read_card(folder: Path) -> AdapterCard:
    """Read what an adapter is, without its tensors.

    Raises:
        DamagedCheckpoint: If it is missing, altered or of another version.
    """
    try:
        return AdapterCard.model_validate_json(SealedFolder(folder).read(CARD))
    except ValidationError as error:
        raise DamagedCheckpoint(
            f"{folder} was written by another version of the studio ({error}).",
            hint="Train the run anew.",
        ) from error


def load_adapter(folder: Path, backbone: Backbone) -> RunModel:
    """Rebuild a trained model with a part for each of its tasks, ready for evaluation.

    Args:
        folder: Adapter folder of a finished run, or a checkpoint.
        backbone: The backbone that it was trained on.

    Raises:
        DamagedCheckpoint: If the folder is not what was written.
        BackboneChanged: If the backbone has other weights.
    """
    sealed = SealedFolder(folder)
    card = read_card(folder)
    if card.weights_sha256 != backbone.weights_sha256:
        raise BackboneChanged(
            f"The adapter {folder} was trained on other weights of '{card.config.backbone.label}' "
            f"({card.weights_sha256[:12]}, here {backbone.weights_sha256[:12]}).",
            hint="Use the same revision of the backbone.",
        )
    config = card.config
    outputs = {task.name: task.num_outputs for task in card.tasks}
    words = {task.name: task.words for task in card.tasks}
    model = build_model(
        config.method, backbone, outputs, config.seeds.init, config.regime.own_axes, words
    )
    put_tensors(model, load_tensors(sealed.read(ADAPTER)))
    return model.eval()


def start_from(folder: Path, model: RunModel) -> None:
    """Give a fresh model the method's tensors of a finished run; heads stay as they were drawn.

    Each task takes what the finished run had for the task of its name, or else for its first one.

    Args:
        folder: Adapter folder of the finished run.
        model: What is to be trained.

    Raises:
        StartError: If the folder is not what was written, or its tensors have other shapes.
    """
    try:
        known = [task.name for task in read_card(folder).tasks]
        tensors = read_tensors(folder / ADAPTER)
    except DamagedCheckpoint as error:
        raise StartError(
            f"The run to start from cannot be used: {error}",
            hint="Start from another run, or from none.",
        ) from error
    with torch.no_grad():
        # The first task is served last: what all share is then as that task had it.
        for task, part in reversed(model.parts.items()):
            taken = task if task in known else known[0]
            for name, tensor in part.named_tensors().items():
                if name.startswith("method."):
                    source = tensors.get(f"{taken}/{name}", tensors.get(name))
                    if source is None or source.shape != tensor.shape:
                        raise StartError(
                            f"The run to start from has no tensor '{name}' of shape "
                            f"{tuple(tensor.shape)} (in {folder}).",
                            hint="Start from a run of the same method with the same settings.",
                        )
                    tensor.copy_(source)


def model_tensors(model: AdaptedModel | RunModel) -> dict[str, Tensor]:
    """Return a model's tensors by name, on the CPU and contiguous."""
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.named_tensors().items()
    }


def put_tensors(model: RunModel, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a model in place.

    Raises:
        DamagedCheckpoint: If names or shapes are not the model's.
    """
    held = model.named_tensors()
    shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != given:
        wrong = sorted(
            name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name)
        )
        raise DamagedCheckpoint(
            f"The tensors do not fit the model: {', '.join(wrong[:3])}.",
            hint="They are damaged, or another version of the studio, whose method trains other "
            "tensors, wrote them. Start the run anew.",
        )
    with torch.no_grad():
        for name, tensor in held.items():
            tensor.copy_(tensors[name])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors from a checkpoint's file, checked against its folder's manifest.

    Raises:
        DamagedCheckpoint: If the file is not what was written.
    """
    return load_tensors(SealedFolder(path.parent).read(path.name))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, sort_keys=True, allow_nan=False), encoding="utf-8")
