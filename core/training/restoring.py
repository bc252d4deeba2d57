"""Going back to the place of a checkpoint, and saying what is not as it was there."""

from __future__ import annotations

from pathlib import Path

from core.errors import BackboneChanged, DamagedCheckpoint
from core.training.checkpoint import load_checkpoint, put_tensors
from core.training.environment import differences
from core.training.optimizers import START_ANEW, put_optimizer_tensors
from core.training.run import TrainingRun


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
    put_optimizer_tensors(run.model, run.updater.optimizer, restored.moments)
    run.progress = restored.progress
    if run.progress.step:
        # An evaluation that is still due tells the rates of the last update.
        run.updater.set_rates(run.progress.step - 1)
    run.shelf.take_over(restored)
    changes = differences(restored.environment, run.environment)
    if not changes:
        return ""
    run.progress.environment_changes.append(f"After update {run.progress.step}: {changes}.")
    return (
        f"Continued in another environment: {changes}; its numbers may differ from an unbroken "
        "run's in the last digits."
    )
