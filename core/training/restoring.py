"""Going back to the place of a checkpoint, and saying what is not as it was there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.errors import BackboneChanged, DamagedCheckpoint
from core.training.checkpoint import MOMENTS, load_checkpoint, put_tensors
from core.training.environment import differences
from core.training.model import RunModel
from core.training.run import TrainingRun

START_ANEW = "Continue from an earlier checkpoint, or start the run anew."


def resume(run: TrainingRun, folder: Path) -> str:
    """Put a fresh run where a checkpoint stands.

    Returns:
        Sentence on what is different in this environment, empty where nothing is.

    Raises:
        DamagedCheckpoint: If it is not what was written, or not this run's.
        BackboneChanged: If only the backbone's weights are others.
    """
    restored = load_checkpoint(folder)
    card, here = restored.card, run.card
    if card.model_copy(update={"weights_sha256": here.weights_sha256}) != here:
        raise DamagedCheckpoint(
            f"The checkpoint {folder} belongs to a run with other settings or labels.",
            hint=START_ANEW,
        )
    if card.weights_sha256 != here.weights_sha256:
        raise BackboneChanged(
            f"The weights of '{run.config.backbone.label}' are not those that the checkpoint "
            f"{folder} was trained on ({card.weights_sha256[:12]} there, "
            f"{here.weights_sha256[:12]} here).",
            hint="Bring the former weights back and retry, or clone the run to train it anew.",
        )
    put_tensors(run.model, restored.tensors)
    put_moments(run.model, run.optimizer, restored.moments)
    run.progress = restored.progress
    run.shelf.take_over(restored)
    changes = differences(restored.environment, run.environment)
    if not changes:
        return ""
    run.progress.environment_changes.append(f"After update {run.progress.step}: {changes}.")
    return (
        f"Continued in another environment: {changes}; its numbers may differ from an unbroken "
        "run's in the last digits."
    )


def put_moments(
    model: RunModel, optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the moments of a checkpoint.

    Raises:
        DamagedCheckpoint: If they are not those of the model's trained tensors.
    """
    names = {id(tensor): name for name, tensor in model.named_tensors().items()}
    left = set(moments)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            keys = [f"{kind}/{name}" for kind in MOMENTS]
            found = {
                kind: moments[key]
                for kind, key in zip(MOMENTS, keys, strict=True)
                if key in moments
            }
            if not found:
                continue  # no gradient has reached it yet
            shapes = [tuple(tensor.shape) for tensor in found.values()]
            if shapes != [(), tuple(parameter.shape), tuple(parameter.shape)]:
                raise DamagedCheckpoint(
                    f"The checkpoint's moments of {name} do not fit it.", hint=START_ANEW
                )
            optimizer.state[parameter] = {
                kind: tensor.to(parameter.device).clone() for kind, tensor in found.items()
            }
            left.difference_update(keys)
    if left:
        raise DamagedCheckpoint(
            f"The checkpoint has moments of nothing that is trained: {min(left)}.",
            hint=START_ANEW,
        )
