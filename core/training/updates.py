"""Applying a run's gradients: clipping, schedule and optimiser."""

from __future__ import annotations

import math

from torch import nn

from core.recipe import RunConfig
from core.stepping import is_clipped
from core.training.model import RunModel
from core.training.optimizers import make_optimizer
from core.training.schedules import rate_factor


class Updater:
    """Makes the updates of a run; what it remembers is in the optimiser alone.

    Args:
        config: The run.
        model: What it trains.
        total: Updates planned, a count.

    Attributes:
        parameters: All trained tensors.
        optimizer: Its optimiser.
    """

    def __init__(self, config: RunConfig, model: RunModel, total: int) -> None:
        self._config, self._total = config, total
        self._training = config.training
        groups = model.parameter_groups()
        self._names = tuple(groups)
        self.parameters = [tensor for group in groups.values() for tensor in group]
        self.optimizer = make_optimizer(
            config.training.optimizer,
            groups,
            config.method.resolved(config.training.optimizer).learning_rates,
            config.training.weight_decay,
        )

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates of the last update, by parameter group."""
        groups = zip(self._names, self.optimizer.param_groups, strict=True)
        return {name: float(group["lr"]) for name, group in groups}

    def apply(self, step: int) -> float:
        """Clip the gradients and apply them; where they are no numbers, change nothing.

        Args:
            step: Update, counted from 0.

        Returns:
            Norm of all gradients before clipping.
        """
        training = self._training
        is_due = is_clipped(training, self._config.method, step)
        most = training.clip_norm if is_due else math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, most).item()
        if not math.isfinite(norm):
            return norm
        self.set_rates(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def set_rates(self, step: int) -> None:
        """Give each parameter group the learning rate of an update, counted from 0."""
        warmup = self._training.warmup_of(self._total)
        factor = rate_factor(step, self._total, warmup=warmup, schedule=self._training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
