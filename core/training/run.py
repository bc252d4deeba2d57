"""One run while it trains: its tasks, model, optimiser and place; no pass of the backbone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.backbones.readout import ReadOut, run_read_out
from core.errors import NonFiniteLoss
from core.methods._module import SelectorNoise
from core.recipe import RunConfig
from core.reporting import Checkpoint
from core.stepping import parts_of_update, whole_updates
from core.training.batches import Batch, TaskOrder, to_tokens
from core.training.checkpoint import AdapterCard, RunProgress, put_tensors, read_tensors
from core.training.drawn import Drawn, DrawnPart, cut_rows, cut_units
from core.training.environment import conditions
from core.training.evaluate import Scores, Scoring
from core.training.features import PreparedSplit
from core.training.launch import Rows
from core.training.model import RunModel
from core.training.part import TaskPart, mean_of
from core.training.schedules import evaluation_steps, stage_start, temperature
from core.training.shelf import Shelf
from core.training.streams import generator
from core.training.updates import Updater
from core.training.warm import WarmBackbone

RECENT_LOSSES = 50
JOINT_CRITERION = "joint_mean"


@dataclass(frozen=True)
class Member:
    """A run that is to be trained.

    Attributes:
        run_id: Its identifier.
        config: Its configuration.
        folder: Folder of this attempt alone, for checkpoints and artifacts.
        resume_from: Checkpoint folder to continue from, None to start anew.
        init_from: Adapter folder whose method's tensors a new start takes over, None: none.
    """

    run_id: str
    config: RunConfig
    folder: Path
    resume_from: Path | None = None
    init_from: Path | None = None


class TrainingRun:
    """A run's state between updates.

    Each update is one batch of one task. Tensors that this task does not use get no gradient, and
    the optimiser then leaves them, their moments and their decay alone.

    Args:
        member: Which run.
        warm: Backbone that it shares with its group.
        parts: What it is trained on, its own task first.
        model: What it trains.
        updates: Updates that each of these tasks gets, a count.

    Attributes:
        notice: Sentence that people should read about this attempt, or empty.
    """

    def __init__(
        self,
        member: Member,
        warm: WarmBackbone,
        parts: Mapping[str, TaskPart],
        model: RunModel,
        updates: Mapping[str, int],
    ) -> None:
        self.member = member
        self.config = member.config
        self.run_id = member.run_id
        self.warm = warm
        self.parts = dict(parts)
        self.model = model
        self.updates = dict(updates)
        self.progress = RunProgress()
        self.notice = ""
        self.seconds_per_step = 0.0
        training, data_seed = self.config.training, self.config.seeds.data
        self.total = sum(updates.values())
        self.has_dropout = training.backbone_dropout
        self.is_cached = model.is_constant and not self.has_dropout
        self.num_trainable = model.num_trainable()
        self.updater = Updater(self.config, model, self.total)
        self._order = TaskOrder(updates, data_seed)
        self._plans = {
            name: part.plan(self.config.examples_an_update, data_seed)
            for name, part in parts.items()
        }
        self.has_dev = all(len(part.splits["dev"]) for part in parts.values())
        self._evaluations = frozenset(
            evaluation_steps(self.total, training.evaluations) if self.has_dev else ()
        )
        # Before its last stage a method is not whole: no checkpoint of it is chosen.
        self._chosen_after = stage_start(model.part().method.stages[-1], self.total)
        self.card = AdapterCard(
            config=self.config,
            tasks=tuple(part.card for part in parts.values()),
            num_virtual_tokens=self.config.method.prompt_length,
            weights_sha256=warm.backbone.weights_sha256,
        )
        self.environment = conditions(warm.backbone)
        self.shelf = Shelf(member.folder, self.card, self.environment)

    @property
    def is_joint(self) -> bool:
        """True when it is trained on several tasks."""
        return len(self.parts) > 1

    @property
    def read_out(self) -> ReadOut:
        """What reads one vector a row out of the backbone's states."""
        return run_read_out(self.config.backbone, self.warm.backbone, self.model.part().method)

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
        return self.shelf.holds(self.progress)

    def dropout_modules(self) -> tuple[nn.Module, ...]:
        """Return the modules in which dropout is switched on while an update is made."""
        backbone, method = self.warm.backbone, self.model.part().method
        language = method.own_language() or backbone.language
        return (method.own_backbone() or backbone.module, *([language] if language else []))

    def feature(self, task: str, split: str) -> Tensor | None:
        """Return the cached features of a task's split when the method asks for them."""
        method = self.parts[task].model.method
        if not method.needs_feature:
            return None
        return self._counted(
            f"{task}/{split}/feature",
            self.parts[task].splits[split],
            lambda prepared: prepared.feature(self.warm.backbone, method.averages_padding),
        )

    def pooled(self, task: str, split: str) -> Tensor | None:
        """Return the cached pooled outputs of a split when nothing before the head is trained."""
        if not self.is_cached:
            return None
        method = self.parts[task].model.method
        return self._counted(
            f"{task}/{split}/pooled",
            self.parts[task].splits[split],
            lambda prepared: prepared.pooled(
                self.warm.backbone, self.config.method, method, self.read_out
            ),
        )

    def _counted(
        self, name: str, prepared: PreparedSplit, make: Callable[[PreparedSplit], Tensor]
    ) -> Tensor:
        """Charge passes for a cache to the run that fills it, but not again after a resume.

        A later attempt in the same process finds the cache filled, and is charged as the first.
        """
        before, key = prepared.passes, (self.run_id, name)
        result = make(prepared)
        if prepared.passes > before:
            prepared.charged[key] = prepared.passes - before
        if name not in self.progress.caches:
            self.progress.caches.append(name)
            self.progress.forward_equivalents += prepared.charged.get(key, 0)
        return result

    def scoring(self, task: str, split: str) -> Scoring:
        """Describe the scoring of a task's split with the weights as they are."""
        part = self.parts[task]
        return Scoring(
            part.model,
            part.splits[split],
            self.read_out,
            self.feature(task, split),
            self.pooled(task, split),
        )

    def charge_scoring(self, places: Iterable[tuple[str, str]]) -> None:
        """Charge the passes of tasks' splits that were scored to their end."""
        if not self.is_cached:
            rows = sum(self.parts[task].splits[split].num_rows for task, split in places)
            self.progress.forward_equivalents += rows

    def scoring_tokens(self, task: str, split: str) -> int:
        """Tokens and prompt vectors of all rows of a split, what the cost is shared by."""
        prepared = self.parts[task].splits[split]
        if self.is_cached:
            return prepared.num_rows
        return prepared.num_tokens + prepared.num_rows * self.config.method.prompt_length

    def draw(self) -> Drawn:
        """Adapt the rows of the next update."""
        step = self.progress.step
        task, place = self._order.at(step)
        part, batch = self.parts[task], self._plans[task].batch(place)
        device = self.warm.backbone.device
        pooled = self.pooled(task, "train")
        if pooled is not None:
            rows = part.rows_of(batch)
            chosen = pooled[torch.from_numpy(rows).to(device)]
            known = DrawnPart(None, part.model.score(chosen), part.target(batch, device))
            return Drawn(task, (known,), len(rows))
        noise = SelectorNoise(
            generator(self.config.seeds.init, step, "selector"),
            self._temperature(step),
            step / self.total,
        )
        count = parts_of_update(self.config.training, self.config.method)
        smaller = [Batch(units, batch.length) for units in cut_units(batch.units, count)]
        is_theirs = self.config.training.stepping == "paper_code"
        if is_theirs:  # each micro-batch makes draws of its own
            cut = [self._adapted(task, item, noise) for item in smaller]
        else:
            counts = [len(part.rows_of(item)) for item in smaller]
            whole = self._adapted(task, batch, noise)
            cut = [whole] if len(smaller) == 1 else cut_rows(whole, counts)
        parts = tuple(
            DrawnPart(
                rows,
                None,
                part.target(item, device),
                1.0 if is_theirs else len(item.units) / len(batch.units),
            )
            for rows, item in zip(cut, smaller, strict=True)
        )
        # Where the loss sums over choices, each is a pass of its own.
        passes = sum(rows.inputs.embeddings.shape[0] for rows in cut)
        self.progress.forward_equivalents += passes
        num_tokens = passes * (batch.length + self.config.method.prompt_length)
        return Drawn(task, parts, num_tokens, len(parts) if is_theirs else 1)

    def _temperature(self, step: int) -> float:
        """Return that of an update, the authors' four small ones counted as one."""
        training, method = self.config.training, self.config.method
        last = whole_updates(training, method, self.total - 1)
        return temperature(method, whole_updates(training, method, step), last + 1)

    def _adapted(self, task: str, batch: Batch, noise: SelectorNoise) -> Rows:
        part, device = self.parts[task], self.warm.backbone.device
        tokens = to_tokens(
            part.splits["train"].tokens,
            part.rows_of(batch),
            batch.length,
            device,
            self.feature(task, "train"),
        )
        return Rows(part.model, part.model.method.adapt(tokens, noise), self.read_out)

    def check_loss(self, loss: float) -> None:
        """Raise NonFiniteLoss, before anything is changed, when a loss is no number."""
        if not math.isfinite(loss):
            raise self._divergence(f"the loss became {loss}")

    def update(self, task: str, loss: float, num_examples: int) -> dict[str, float]:
        """Clip, check and apply the gradients that the backward pass left; return the scalars.

        Raises:
            NonFiniteLoss: If the gradient is no number; nothing is changed then.
        """
        step, progress = self.progress.step, self.progress
        norm = self.updater.apply(step)
        if not math.isfinite(norm):
            raise self._divergence(f"the gradient's norm became {norm}")
        progress.step = step + 1
        progress.examples += num_examples
        losses = [*progress.recent_losses.get(task, ()), loss]
        progress.recent_losses[task] = losses[-RECENT_LOSSES:]
        return self.loss_scalars(task, loss)

    def loss_scalars(self, task: str, loss: float) -> dict[str, float]:
        """Return the scalars of an update's loss; one that is no number leaves a gap."""
        return {"train/loss": loss, **({f"train/{task}/loss": loss} if self.is_joint else {})}

    @property
    def reported_places(self) -> list[tuple[str, str]]:
        """Tasks and their splits that are scored at the end."""
        return [(task, split) for task, part in self.parts.items() for split in part.scored_splits]

    def updates_done(self, task: str) -> int:
        """Updates of a task so far, a count."""
        return self._order.done(task, self.progress.step)

    def summary(self, metrics: Mapping[str, dict[str, float]]) -> dict[str, float]:
        """Return a single task's metrics, or of several tasks the mean of their first metrics."""
        if not self.is_joint:
            return dict(metrics.get(self.config.task.name, {}))
        first = {
            name: found[self.parts[name].criterion] for name, found in metrics.items() if found
        }
        return {JOINT_CRITERION: mean_of(first)} if first else {}

    def record(self, scores: Mapping[str, Scores]) -> dict[str, float]:
        """Take in an evaluation of every task on dev; return its scalars.

        Raises:
            NonFiniteLoss: If a score is no number.
        """
        if not all(found.is_finite for found in scores.values()):
            raise self._divergence("the scores on dev are no numbers")
        metrics = {task: self.parts[task].metrics("dev", found) for task, found in scores.items()}
        summary, progress = self.summary(metrics), self.progress
        value = summary[
            JOINT_CRITERION if self.is_joint else self.parts[self.config.task.name].criterion
        ]
        progress.evaluated_step = progress.step
        progress.dev_curve.append(value)
        for task, part in self.parts.items():
            curve = progress.task_curves.setdefault(task, [])
            curve.append(metrics[task][part.criterion])
        progress.last_dev = metrics
        if progress.step > self._chosen_after:
            self._choose(value)
        scalars = {f"dev/{name}": number for name, number in summary.items()}
        scalars["dev/loss"] = mean_of({task: found.loss() for task, found in scores.items()})
        scalars.update({f"learning_rate/{name}": rate for name, rate in self.updater.rates.items()})
        if self.is_joint:
            for task, found in scores.items():
                scalars[f"dev/{task}/loss"] = found.loss()
                for name, number in metrics[task].items():
                    scalars[f"dev/{task}/{name}"] = number
        entropies = {task: found.entropies() for task, found in scores.items()}
        for name in next(iter(entropies.values())):
            scalars[name] = mean_of({task: found[name] for task, found in entropies.items()})
        return scalars

    def _choose(self, value: float) -> None:
        """Keep this evaluation as the best one, or count it as a worse one."""
        progress = self.progress
        if progress.best_step <= self._chosen_after or value > progress.best_value:
            progress.best_step, progress.best_value = progress.step, value
            progress.worse_evaluations = 0
        else:
            progress.worse_evaluations += 1

    def save(self) -> Checkpoint:
        """Write a checkpoint of the place where the run stands.

        Raises:
            NonFiniteLoss: If a weight is no number; what is on disk stays finite.
            DiskFull: If there is no room for it.
            TrainingError: If the disk refuses for another reason.
        """
        # One number of each tensor, which any infinity or NaN in it makes the like.
        sums = torch.stack([tensor.detach().sum() for tensor in self.updater.parameters])
        if not bool(torch.isfinite(sums).all()):
            raise self._divergence("a weight is no number")
        return self.shelf.put(self.model, self.updater.optimizer, self.progress)

    def put_best(self) -> None:
        """Give the model the tensors of the best evaluation.

        Raises:
            DamagedCheckpoint: If their file is not what was written.
        """
        if self.shelf.best is not None:
            put_tensors(self.model, read_tensors(self.shelf.best))

    def _divergence(self, what: str) -> NonFiniteLoss:
        place = min(self.progress.step, self.total - 1)
        losses = self.progress.recent_losses.get(self._order.at(place)[0])
        last = f"; the last finite loss was {losses[-1]:.4g}" if losses else ""
        rates = ", ".join(f"{name} {rate:.3g}" for name, rate in self.updater.rates.items())
        return NonFiniteLoss(
            f"At update {place + 1} of {self.total} {what}{last} (learning rates: {rates}).",
            hint="Clone the run with lower learning rates.",
        )
