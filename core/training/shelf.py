"""Where a run's checkpoints stand on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.reporting import Checkpoint
from core.training.checkpoint import (
    ADAPTER,
    BEST,
    AdapterCard,
    Restored,
    RunProgress,
    save_checkpoint,
)
from core.training.model import RunModel


class Shelf:
    """Checkpoints of one attempt; older ones stay until whoever is told of them lets them go.

    Attributes:
        best: File with the tensors of the best evaluation, None before the first.
        last_bytes: Size of the last checkpoint, 0 before the first.

    Args:
        folder: Folder of this attempt alone.
        card: Whose checkpoints they are.
        environment: Environment of the process.
    """

    def __init__(self, folder: Path, card: AdapterCard, environment: Mapping[str, Any]) -> None:
        self.best: Path | None = None
        self.last_bytes = 0
        self._folder = folder / "checkpoints"
        self._card = card
        self._environment = environment
        self._place = (0, 0)

    def holds(self, progress: RunProgress) -> bool:
        """Tell whether a checkpoint of exactly this place exists, or nothing was done yet."""
        return self._place == (progress.step, progress.evaluated_step)

    def take_over(self, restored: Restored) -> None:
        """Go on from a checkpoint that was read."""
        self.best = restored.best
        self.last_bytes = restored.num_bytes
        self._place = (restored.progress.step, restored.progress.evaluated_step)

    def put(
        self, model: RunModel, optimizer: torch.optim.Optimizer, progress: RunProgress
    ) -> Checkpoint:
        """Write a checkpoint.

        Raises:
            DiskFull: If there is no room for it.
            TrainingError: If the disk refuses for another reason.
        """
        is_best = progress.best_step == progress.step > 0
        target = self._folder / f"step-{progress.step:08d}"
        if target.exists():
            target = target.with_name(f"{target.name}-evaluated")
        best = None if is_best else self.best
        seal = save_checkpoint(
            target,
            model,
            optimizer,
            progress,
            self._card,
            best,
            self._environment,
            self.last_bytes,
        )
        self._place = (progress.step, progress.evaluated_step)
        self.last_bytes = seal.num_bytes
        if is_best:
            self.best = target / ADAPTER
        elif self.best is not None:
            self.best = target / BEST
        return Checkpoint(progress.step, target, seal.sha256, seal.num_bytes, is_best)
