"""Checkpoints and adapters: safetensors and JSON in sealed folders, never pickle.

A checkpoint holds

    adapter.safetensors   the method's own tensors and the head, as they are now
    adapter.json          card: run configuration, labels, task
    best.safetensors      the same tensors at the best evaluation, when that is an earlier one
    state.safetensors     both moments and the step of AdamW
    state.json            ``RunProgress``
    manifest.json         digests of all these

so that one folder is enough to continue a run exactly. A finished run's adapter is a folder with
``adapter.safetensors``, ``adapter.json`` and a manifest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.errors import BackboneError, DamagedCheckpoint, TrainingError
from core.methods._config import Part
from core.recipe import RunConfig
from core.training.model import AdaptedModel, build_model
from core.training.sealed import Seal, SealedFolder, write_sealed

ADAPTER, CARD, BEST = "adapter.safetensors", "adapter.json", "best.safetensors"
STATE, PROGRESS = "state.safetensors", "state.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class AdapterCard(Part):
    """What must be known to use an adapter without a database.

    Attributes:
        config: Configuration of the run that trained it.
        labels: Classes in index order.
        task_title: Task name for people.
        num_segments: Texts that an input consists of, one or two.
        num_virtual_tokens: Prompt vectors in the input sequence, a count.
        weights_sha256: Digest of the backbone's weights that it was trained on.
    """

    config: RunConfig
    labels: tuple[str, ...]
    task_title: str
    num_segments: int
    num_virtual_tokens: int
    weights_sha256: str


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
        best_dev: All dev metrics at the best evaluation.
        last_dev: All dev metrics at the last evaluation.
        recent_losses: Train losses of the last updates.
        examples: Training examples seen, repeats counted.
        forward_equivalents: Examples that went through the backbone, every purpose counted.
        seconds: Wall time that the run took part in.
        cpu_seconds: Its share of the process's CPU time.
    """

    step: int = 0
    evaluated_step: int = 0
    best_step: int = 0
    best_value: float = 0.0
    worse_evaluations: int = 0
    dev_curve: list[float] = field(default_factory=list)
    best_dev: dict[str, float] = field(default_factory=dict)
    last_dev: dict[str, float] = field(default_factory=dict)
    recent_losses: list[float] = field(default_factory=list)
    examples: int = 0
    forward_equivalents: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Restored:
    """A checkpoint, read and checked.

    Attributes:
        card: Whose checkpoint it is.
        progress: Where the run stands.
        tensors: Tensors of the model by name.
        moments: Optimiser tensors by ``<kind>/<name of the trained tensor>``.
        best: File with the tensors of the best evaluation, None before the first.
    """

    card: AdapterCard
    progress: RunProgress
    tensors: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    best: Path | None


def save_checkpoint(
    target: Path,
    model: AdaptedModel,
    optimizer: torch.optim.Optimizer,
    progress: RunProgress,
    card: AdapterCard,
    best: Path | None,
) -> Seal:
    """Write a checkpoint that appears whole or not at all.

    Args:
        target: Folder to create.
        model: What the run trains.
        optimizer: Its optimiser.
        progress: Where it stands.
        card: Whose checkpoint it is.
        best: File with the tensors of the best evaluation when that is not now, else None.

    Raises:
        TrainingError: If the disk refuses.
    """

    def fill(folder: Path) -> None:
        save_file(model_tensors(model), folder / ADAPTER)
        save_file(_moments(model, optimizer), folder / STATE)
        _write_json(folder / PROGRESS, asdict(progress))
        _write_json(folder / CARD, card.model_dump(mode="json"))
        if best is not None:
            _link(best, folder / BEST)

    return write_sealed(target, fill)


def load_checkpoint(folder: Path) -> Restored:
    """Read a checkpoint, every byte checked.

    Raises:
        DamagedCheckpoint: If anything is missing or altered.
    """
    sealed = SealedFolder(folder)
    try:
        card = AdapterCard.model_validate_json(sealed.read(CARD))
        progress = RunProgress(**json.loads(sealed.read(PROGRESS)))
        tensors = load_tensors(sealed.read(ADAPTER))
        moments = load_tensors(sealed.read(STATE))
    except (ValidationError, ValueError, TypeError, SafetensorError) as error:
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
    return Restored(card, progress, tensors, moments, best)


def save_adapter(target: Path, tensors: Mapping[str, Tensor], card: AdapterCard) -> Seal:
    """Write what inference needs: tensors and card.

    Raises:
        TrainingError: If the disk refuses.
    """

    def fill(folder: Path) -> None:
        save_file(dict(tensors), folder / ADAPTER)
        _write_json(folder / CARD, card.model_dump(mode="json"))

    return write_sealed(target, fill)


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


def load_adapter(folder: Path, backbone: Backbone) -> AdaptedModel:
    """Rebuild a trained model, ready for evaluation.

    Args:
        folder: Adapter folder of a finished run, or a checkpoint.
        backbone: The backbone that it was trained on.

    Raises:
        DamagedCheckpoint: If the folder is not what was written.
        BackboneError: If the backbone has other weights.
    """
    sealed = SealedFolder(folder)
    card = read_card(folder)
    if card.weights_sha256 != backbone.weights_sha256:
        raise BackboneError(
            f"The adapter {folder} was trained on other weights of '{card.config.backbone.label}' "
            f"({card.weights_sha256[:12]}, here {backbone.weights_sha256[:12]}).",
            hint="Use the same revision of the backbone.",
        )
    model = build_model(card.config.method, backbone, len(card.labels), card.config.seeds.init)
    put_tensors(model, load_tensors(sealed.read(ADAPTER)))
    return model.eval()


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors by name, on the CPU and contiguous."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a model in place.

    Raises:
        DamagedCheckpoint: If names or shapes are not the model's.
    """
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise DamagedCheckpoint(
            f"The tensors do not fit the model: {error}", hint="Start the run anew."
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors from a checkpoint's file, checked against its folder's manifest.

    Raises:
        DamagedCheckpoint: If the file is not what was written.
    """
    return load_tensors(SealedFolder(path.parent).read(path.name))


def put_moments(
    model: AdaptedModel, optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the moments of a checkpoint.

    Raises:
        TrainingError: If they are not those of the model's trained tensors.
    """
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            keys = [f"{kind}/{name}" for kind in MOMENTS]
            if not any(key in moments for key in keys):
                continue  # no gradient has reached it yet
            if not all(key in moments for key in keys):
                raise TrainingError(f"The checkpoint's moments of {name} are incomplete.")
            optimizer.state[parameter] = {
                kind: moments[key].to(parameter.device).clone()
                for kind, key in zip(MOMENTS, keys, strict=True)
            }


def _moments(model: AdaptedModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    return {
        f"{kind}/{names[id(parameter)]}": state[kind].detach().cpu().contiguous()
        for parameter, state in optimizer.state.items()
        for kind in MOMENTS
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, sort_keys=True, allow_nan=False), encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
