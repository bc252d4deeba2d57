"""One run while it trains: its data, model, optimiser and place; no pass of the backbone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.backbones.spec import Pooling
from core.data.examples import TaskData
from core.errors import NonFiniteLoss
from core.methods._module import SelectorNoise
from core.recipe import RunConfig
from core.reporting import Checkpoint
from core.training.batches import BatchPlan, to_tokens
from core.training.checkpoint import (
    ADAPTER,
    BEST,
    AdapterCard,
    RunProgress,
    put_tensors,
    read_tensors,
    save_checkpoint,
)
from core.training.evaluate import Scores, Scoring
from core.training.features import PreparedSplit
from core.training.launch import Rows
from core.training.model import AdaptedModel
from core.training.schedules import evaluation_steps, rate_factor, temperature
from core.training.streams import generator
from core.training.warm import WarmBackbone

RECENT_LOSSES = 50
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Member:
    """A run that is to be trained.

    Attributes:
        run_id: Its identifier.
        config: Its configuration.
        folder: Folder of this attempt alone, for checkpoints and artifacts.
        resume_from: Checkpoint folder to continue from, None to start anew.
    """

    run_id: str
    config: RunConfig
    folder: Path
    resume_from: Path | None = None


@dataclass(frozen=True)
class Drawn:
    """What one update of a run works on.

    Attributes:
        rows: Adapted rows for the backbone, None when ``logits`` are known without it.
        logits: Scores from cached outputs, None when the backbone must run.
        labels: Right classes, shape (rows,).
        num_tokens: Tokens and prompt vectors of all rows, what the cost is shared by.
    """

    rows: Rows | None
    logits: Tensor | None
    labels: Tensor
    num_tokens: int


class TrainingRun:
    """A run's state between updates.

    Args:
        member: Which run.
        warm: Backbone that it shares with its group.
        data: Its task.
        splits: ``train``, ``dev`` and ``test``, tokenised; train as the regime drew it.
        model: What it trains.
    """

    def __init__(
        self,
        member: Member,
        warm: WarmBackbone,
        data: TaskData,
        splits: dict[str, PreparedSplit],
        model: AdaptedModel,
    ) -> None:
        self.member = member
        self.config = member.config
        self.run_id = member.run_id
        self.warm = warm
        self.data = data
        self.splits = splits
        self.model = model
        self.progress = RunProgress()
        self.best: Path | None = None
        self.seconds_per_step = 0.0
        training = self.config.training
        self.total = training.updates_for(len(splits["train"]))
        self.has_dropout = training.backbone_dropout
        self.is_cached = model.is_constant and not self.has_dropout
        self.groups = model.parameter_groups()
        self.num_trainable = model.num_trainable()
        self.optimizer = self._make_optimizer()
        self._parameters = [tensor for group in self.groups.values() for tensor in group]
        self._plan = BatchPlan(
            splits["train"].tokens.lengths, training.batch_size, self.config.seeds.data
        )
        self._evaluations = frozenset(evaluation_steps(self.total, training.evaluations))
        self._labels = splits["train"].labels.to(warm.backbone.device)
        self._saved_at = (0, 0)
        self.card = AdapterCard(
            config=self.config,
            labels=data.labels,
            task_title=data.title,
            num_segments=len(data.dev[0].segments),
            num_virtual_tokens=self.config.method.prompt_length,
            weights_sha256=warm.backbone.weights_sha256,
        )

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rates = self.config.method.resolved().learning_rates
        return torch.optim.AdamW(
            [
                {"params": tensors, "lr": getattr(rates, name), "base": getattr(rates, name)}
                for name, tensors in self.groups.items()
            ],
            weight_decay=self.config.training.weight_decay,
            fused=True,
        )

    @property
    def pooling(self) -> Pooling:
        """Read-out of the run."""
        return self.config.backbone.read_out

    @property
    def evaluation_is_due(self) -> bool:
        """True when dev must be scored before anything else."""
        step = self.progress.step
        return step in self._evaluations and self.progress.evaluated_step < step

    @property
    def is_done(self) -> bool:
        """True when no update follows, by length or by patience."""
        patience = self.config.training.patience
        is_patient = patience is None or self.progress.worse_evaluations < patience
        return self.progress.step >= self.total or not is_patient

    @property
    def is_saved(self) -> bool:
        """True when a checkpoint of exactly this place exists, or nothing was done yet."""
        return self._saved_at == (self.progress.step, self.progress.evaluated_step)

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates of the last update, by parameter group."""
        return {
            name: float(group["lr"])
            for name, group in zip(self.groups, self.optimizer.param_groups, strict=True)
        }

    def dropout_module(self) -> nn.Module:
        """Return the module in which dropout is switched on while an update is made."""
        return self.model.method.own_backbone() or self.warm.backbone.module

    def feature(self, split: str) -> Tensor | None:
        """Return the cached features of a split when the method asks for them."""
        if not self.model.method.needs_feature:
            return None
        return self._counted(split, lambda prepared: prepared.feature(self.warm.backbone))

    def pooled(self, split: str) -> Tensor | None:
        """Return the cached pooled outputs of a split when nothing before the head is trained."""
        if not self.is_cached:
            return None
        return self._counted(
            split,
            lambda prepared: prepared.pooled(
                self.warm.backbone, self.config.method, self.model.method, self.pooling
            ),
        )

    def _counted(self, split: str, make: Callable[[PreparedSplit], Tensor]) -> Tensor:
        """Charge passes for a cache to the run that fills it."""
        prepared = self.splits[split]
        before = prepared.passes
        result = make(prepared)
        self.progress.forward_equivalents += prepared.passes - before
        return result

    def scoring(self, split: str) -> Scoring:
        """Describe the scoring of a split with the weights as they are."""
        if not self.is_cached:
            self.progress.forward_equivalents += len(self.splits[split])
        return Scoring(
            self.model, self.splits[split], self.pooling, self.feature(split), self.pooled(split)
        )

    def scoring_tokens(self, split: str) -> int:
        """Tokens and prompt vectors of all rows of a split, what the cost is shared by."""
        prepared = self.splits[split]
        if self.is_cached:
            return len(prepared)
        return prepared.num_tokens + len(prepared) * self.config.method.prompt_length

    def draw(self) -> Drawn:
        """Adapt the rows of the next update."""
        step = self.progress.step
        batch = self._plan.batch(step)
        device = self.warm.backbone.device
        labels = self._labels[torch.from_numpy(batch.rows).to(device)]
        pooled = self.pooled("train")
        if pooled is not None:
            chosen = pooled[torch.from_numpy(batch.rows).to(device)]
            return Drawn(None, self.model.score(chosen), labels, len(batch.rows))
        num_tokens = len(batch.rows) * (batch.length + self.config.method.prompt_length)
        tokens = to_tokens(
            self.splits["train"].tokens, batch.rows, batch.length, device, self.feature("train")
        )
        noise = SelectorNoise(
            generator(self.config.seeds.init, step, "selector"),
            temperature(self.config.method, step, self.total),
        )
        self.progress.forward_equivalents += len(batch.rows)
        rows = Rows(self.model, self.model.method.adapt(tokens, noise), self.pooling)
        return Drawn(rows, None, labels, num_tokens)

    def check_loss(self, loss: float) -> None:
        """Raise NonFiniteLoss, before anything is changed, when a loss is no number."""
        if not math.isfinite(loss):
            raise self._divergence(f"the loss became {loss}")

    def update(self, loss: float, num_examples: int) -> None:
        """Clip, check and apply the gradients that the backward pass left.

        Raises:
            NonFiniteLoss: If the gradient is no number; nothing is changed then.
        """
        step, training = self.progress.step, self.config.training
        norm = nn.utils.clip_grad_norm_(self._parameters, training.clip_norm)
        if not math.isfinite(norm.item()):
            raise self._divergence(f"the gradient's norm became {norm.item()}")
        factor = rate_factor(step, self.total, warmup=training.warmup, schedule=training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step = step + 1
        self.progress.examples += num_examples
        self.progress.recent_losses = [*self.progress.recent_losses, loss][-RECENT_LOSSES:]

    def record(self, scores: Scores) -> dict[str, float]:
        """Take in an evaluation on dev; return its scalars.

        Raises:
            NonFiniteLoss: If a score is no number.
        """
        if not scores.is_finite:
            raise self._divergence("the scores on dev are no numbers")
        metrics = scores.metrics(self.data.metrics)
        value = metrics[self.data.metrics[0]]
        progress = self.progress
        progress.evaluated_step = progress.step
        progress.dev_curve.append(value)
        progress.last_dev = metrics
        if not progress.best_step or value > progress.best_value:
            progress.best_step, progress.best_value = progress.step, value
            progress.best_dev, progress.worse_evaluations = metrics, 0
        else:
            progress.worse_evaluations += 1
        scalars = {f"dev/{name}": number for name, number in metrics.items()}
        scalars["dev/loss"] = scores.loss()
        scalars.update({f"learning_rate/{name}": rate for name, rate in self.rates.items()})
        entropy = scores.entropy()
        if entropy is not None:
            scalars["selector/entropy"] = entropy
        return scalars

    def save(self) -> Checkpoint:
        """Write a checkpoint; older ones stay until whoever is told of it lets them go.

        Raises:
            TrainingError: If the disk refuses.
        """
        progress = self.progress
        is_best = progress.best_step == progress.step > 0
        target = self.member.folder / "checkpoints" / f"step-{progress.step:08d}"
        if target.exists():
            target = target.with_name(f"{target.name}-evaluated")
        best = None if is_best else self.best
        seal = save_checkpoint(target, self.model, self.optimizer, progress, self.card, best)
        self._saved_at = (progress.step, progress.evaluated_step)
        if is_best:
            self.best = target / ADAPTER
        elif self.best is not None:
            self.best = target / BEST
        return Checkpoint(progress.step, target, seal.sha256, seal.num_bytes, is_best)

    def mark_saved(self) -> None:
        """Note that the place the run stands at is on disk already."""
        self._saved_at = (self.progress.step, self.progress.evaluated_step)

    def put_best(self) -> None:
        """Give the model the tensors of the best evaluation.

        Raises:
            DamagedCheckpoint: If their file is not what was written.
        """
        if self.best is not None:
            put_tensors(self.model, read_tensors(self.best))

    def _divergence(self, what: str) -> NonFiniteLoss:
        losses = self.progress.recent_losses
        last = f"; the last finite loss was {losses[-1]:.4g}" if losses else ""
        rates = ", ".join(f"{name} {rate:.3g}" for name, rate in self.rates.items())
        return NonFiniteLoss(
            f"At update {self.progress.step + 1} of {self.total} {what}{last} "
            f"(learning rates: {rates}).",
            hint="Clone the run with lower learning rates.",
        )
