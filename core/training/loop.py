"""The training loop of a group: one pass of the backbone serves all its runs.

Each turn does one thing for the whole group: score the runs whose evaluation is due, finish those
that are done, or make one update of all others. Nothing a run computes depends on its partners:
batches, noise, optimiser, schedule and clipping are its own, and rows of different runs never
meet inside the backbone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from core.errors import EvaluationError, NonFiniteLoss, StudioError
from core.fault_points import reach
from core.reporting import Ending, Progress, Reporter
from core.states import Outcome, StopKind
from core.training.audit import Audit, audit, is_audited
from core.training.drawn import Drawn, DrawnPart
from core.training.evaluate import Scores, evaluate
from core.training.final import final_evaluation
from core.training.launch import launch
from core.training.results import finished
from core.training.run import TrainingRun
from core.training.streams import seeded_library_draws
from core.wording import counted

CHECKPOINT_SECONDS = 20.0
CHECKPOINT_SHARE = 0.1
PROGRESS_SECONDS = 0.5
SMOOTHING = 0.9

Clock = Callable[[], float]
Place = tuple[str, str]
"""A task and one of its splits."""


def failure(error: StudioError) -> Ending:
    """Say how a run ended that an error of its own stopped."""
    return Ending(outcome=Outcome.FAILED, kind=error.code, detail=str(error))


class GroupLoop:
    """Trains runs that share one backbone until each has ended.

    Args:
        runs: Runs of one backbone and precision.
        reporter: Who is told.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, runs: Sequence[TrainingRun], reporter: Reporter, clock: Clock = time.monotonic
    ) -> None:
        self.active = list(runs)
        self._group = len(runs)
        self._reporter = reporter
        self._clock = clock
        now = clock()
        self._saved = {run.run_id: now for run in runs}
        self._wait = {run.run_id: CHECKPOINT_SECONDS for run in runs}
        self._told = now
        self._lap = (time.perf_counter(), time.process_time())

    def run(self) -> None:
        """Turn until no run is active."""
        for run in self.active:
            self._tell(run, "training")
        while self.active:
            self.turn()

    def turn(self) -> None:
        """Obey stops, then evaluate, finish, or make one update of every active run."""
        for run in list(self.active):
            self._obey(run)
        due = [run for run in self.active if run.evaluation_is_due]
        done = [run for run in self.active if run.is_done and not run.evaluation_is_due]
        if due:
            self._evaluate(due)
        elif done:
            self._finish(done)
        elif self.active:
            self._step(list(self.active))

    def end(self, run: TrainingRun, ending: Ending) -> None:
        """Tell a run's end and go on without it."""
        self.active.remove(run)
        self._reporter.ended(run.run_id, ending)

    @contextmanager
    def _own_fault(self, run: TrainingRun) -> Iterator[None]:
        """End a run that an error of its own stops; the others go on."""
        try:
            yield
        except StudioError as error:
            self.end(run, failure(error))

    def _obey(self, run: TrainingRun) -> None:
        stop = self._reporter.stop_wanted(run.run_id)
        if stop is None:
            return
        with self._own_fault(run):
            if not run.is_saved:
                self._save(run)
            outcome = Outcome.CANCELLED if stop is StopKind.CANCEL else Outcome.DRAINED
            self.end(run, Ending(outcome=outcome, detail=f"Stopped after {_updates(run)}."))

    def _step(self, runs: list[TrainingRun]) -> None:
        """Make one update of every run."""
        drawn: dict[TrainingRun, Drawn] = {}
        for run in runs:
            with self._own_fault(run):
                drawn[run] = run.draw()
        sums = dict.fromkeys(drawn, 0.0)
        for turn in range(max((len(item.parts) for item in drawn.values()), default=0)):
            for run, value in self._backward(drawn, turn).items():
                sums[run] += value
        kept = [run for run in drawn if run in self.active]
        for run in kept:
            with self._own_fault(run):
                item = drawn[run]
                loss = sums[run] / item.num_losses
                scalars = run.update(item.task, loss, item.num_examples)
                self._reporter.scalars(run.run_id, run.progress.step, scalars)
        wall = self._charge({run: drawn[run].num_tokens for run in drawn})
        for run in kept:
            before = run.seconds_per_step
            run.seconds_per_step = SMOOTHING * before + (1 - SMOOTHING) * wall if before else wall
        self._after_step([run for run in kept if run in self.active])

    def _backward(self, drawn: dict[TrainingRun, Drawn], turn: int) -> dict[TrainingRun, float]:
        """Add the gradients of one part of every run's update.

        Returns:
            Weighted loss of each run that has this part and goes on, in nats.
        """
        parts = {
            run: item.parts[turn]
            for run, item in drawn.items()
            if run in self.active and turn < len(item.parts)
        }
        logits = self._forward(parts, turn)
        losses = {run: part.loss(logits[run]) for run, part in parts.items()}
        values = {run: loss.item() for run, loss in losses.items()}
        for run, value in values.items():
            with self._own_fault(run):
                self._check(run, drawn[run].task, value)
        kept = [run for run in parts if run in self.active]
        if kept:
            # The rows of all parts come out of one graph.
            is_followed = any(turn + 1 < len(drawn[run].parts) for run in kept)
            torch.autograd.backward([losses[run] for run in kept], retain_graph=is_followed)
        return {run: values[run] for run in kept}

    def _check(self, run: TrainingRun, task: str, loss: float) -> None:
        """Leave a gap in the curve and raise NonFiniteLoss where a loss is no number."""
        try:
            run.check_loss(loss)
        except NonFiniteLoss:
            step = run.progress.step + 1
            self._reporter.scalars(run.run_id, step, run.loss_scalars(task, loss))
            raise

    def _forward(self, drawn: dict[TrainingRun, DrawnPart], turn: int) -> dict[TrainingRun, Tensor]:
        """Score every run's rows; runs with dropout pass alone, with their own draws."""
        logits = {run: item.logits for run, item in drawn.items() if item.logits is not None}
        together = [
            (run, item.rows)
            for run, item in drawn.items()
            if item.rows is not None and not run.has_dropout
        ]
        if together:
            backbone = together[0][0].warm.backbone
            results = launch(backbone, [rows for _, rows in together])
            logits.update(zip([run for run, _ in together], results, strict=True))
        for run, item in drawn.items():
            if item.rows is None or not run.has_dropout:
                continue
            modules, backbone = run.dropout_modules(), run.warm.backbone
            seed, step = run.config.seeds.init, run.progress.step
            site = f"dropout/{turn}" if turn else "dropout"
            with seeded_library_draws(seed, step, site, backbone.device):
                for module in modules:
                    module.train()
                logits[run] = launch(backbone, [item.rows])[0]
                for module in modules:
                    module.eval()
        return logits

    def _after_step(self, runs: list[TrainingRun]) -> None:
        """Save what has not been saved for long, and tell where the runs stand."""
        now = self._clock()
        for run in runs:
            is_late = now - self._saved[run.run_id] >= self._wait[run.run_id]
            if is_late and not run.evaluation_is_due:
                with self._own_fault(run):
                    self._save(run)
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            for run in runs:
                if run in self.active:
                    self._tell(run, "training")

    def _evaluate(self, runs: list[TrainingRun]) -> None:
        """Score dev for runs that are due, and save each."""
        wanted = {run: [(task, "dev") for task in run.parts] for run in runs}
        for run, found in self._score(wanted, "evaluating").items():
            with self._own_fault(run):
                run.charge_scoring(found)
                scores = {task: item for (task, _), item in found.items()}
                self._reporter.scalars(run.run_id, run.progress.step, run.record(scores))
                self._histograms(run, list(scores.values()))
                self._save(run)
                self._tell(run, "training")

    def _finish(self, runs: list[TrainingRun]) -> None:
        """Save what is trained, score all that is reported, at each best checkpoint, and end."""
        wanted: dict[TrainingRun, list[Place]] = {}
        for run in runs:
            with self._own_fault(run):
                if not run.is_saved:
                    self._save(run)
                with final_evaluation(run.run_id):
                    reach("evaluation.final")
                run.put_best()
                wanted[run] = run.reported_places
        for run, found in self._score_finally(wanted).items():
            with self._own_fault(run):
                with final_evaluation(run.run_id):
                    audited = self._audit(run)
                    if audited is None:  # a stop is obeyed at the next turn
                        continue
                    run.charge_scoring(found)
                    ending = finished(run, found, self._group, audited)
                self.end(run, ending)

    def _audit(self, run: TrainingRun) -> Audit | None:
        """Audit a run's choices; None when it was asked to stop meanwhile.

        Neither its passes nor its time are charged to a run.
        """
        if not is_audited(run.config):
            return Audit()

        def is_stopped(rows: int) -> bool:
            now = self._clock()
            if not rows or now - self._told >= PROGRESS_SECONDS:
                self._told = now
                self._tell(run, f"auditing {rows}")
            return self._reporter.stop_wanted(run.run_id) is not None

        found = audit(run.config, run.parts, run.warm, is_stopped)
        self._lap = (time.perf_counter(), time.process_time())
        return found

    def _score_finally(
        self, wanted: dict[TrainingRun, list[Place]]
    ) -> dict[TrainingRun, dict[Place, Scores]]:
        """Score all splits of all runs; where that fails each alone, to end only whose fault it is.

        Returns:
            As ``_score``.
        """
        alone = next(iter(wanted)) if len(wanted) == 1 else None
        try:
            with final_evaluation("" if alone is None else alone.run_id):
                return self._score(wanted, "testing")
        except EvaluationError as error:
            if alone is not None:
                self.end(alone, failure(error))
                return {}
        found: dict[TrainingRun, dict[Place, Scores]] = {}
        for run, places in wanted.items():
            found |= self._score_finally({run: places})
        return found

    def _score(
        self, wanted: dict[TrainingRun, list[Place]], phase: str
    ) -> dict[TrainingRun, dict[Place, Scores]]:
        """Score splits of several runs, one of each run at a time.

        Returns:
            Scores of each run; runs that were asked to stop are missing, which is obeyed at the
            next turn.
        """
        found: dict[TrainingRun, dict[Place, Scores]] = {run: {} for run in wanted}
        for run in wanted:
            self._tell(run, phase)
        for turn in range(max(map(len, wanted.values()), default=0)):
            jobs = {run: wanted[run][turn] for run in found if turn < len(wanted[run])}
            if not jobs:  # all were stopped
                break
            for run, scores in self._score_one(jobs).items():
                if scores is None:
                    del found[run]
                else:
                    found[run][jobs[run]] = scores
        return found

    def _score_one(self, jobs: dict[TrainingRun, Place]) -> dict[TrainingRun, Scores | None]:
        runs = list(jobs)

        def is_stopped(index: int) -> bool:
            return self._reporter.stop_wanted(runs[index].run_id) is not None

        scorings = [run.scoring(*place) for run, place in jobs.items()]
        results = evaluate(runs[0].warm.backbone, scorings, is_stopped)
        self._charge({run: run.scoring_tokens(*place) for run, place in jobs.items()})
        return dict(zip(runs, results, strict=True))

    def _histograms(self, run: TrainingRun, scores: Sequence[Scores]) -> None:
        """Tell how often each choice was taken on dev, all tasks together."""
        step = run.progress.step
        found = [item.histograms() for item in scores]
        for name in found[0]:
            total = np.sum([counts[name] for counts in found], axis=0)
            self._reporter.histogram(run.run_id, name, step, np.rint(total).astype(int).tolist())

    def _save(self, run: TrainingRun) -> None:
        started = self._clock()
        checkpoint = run.save()
        now = self._clock()
        self._saved[run.run_id] = now
        # Large states are written more seldom, so that writing stays a small share of the time.
        self._wait[run.run_id] = max(CHECKPOINT_SECONDS, (now - started) / CHECKPOINT_SHARE)
        self._reporter.checkpoint(run.run_id, checkpoint)

    def _tell(self, run: TrainingRun, phase: str) -> None:
        self._reporter.progress(
            run.run_id,
            Progress(
                phase=phase,
                step=run.progress.step,
                total_steps=run.total,
                seconds_per_step=run.seconds_per_step,
                num_trainable=run.num_trainable,
                group=len(self.active),
            ),
        )

    def _charge(self, tokens: dict[TrainingRun, int]) -> float:
        """Share the time since the last call out to runs; return the wall time in seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        wall_used, cpu_used = wall - self._lap[0], cpu - self._lap[1]
        self._lap = (wall, cpu)
        total = sum(tokens.values())
        for run, count in tokens.items():
            run.progress.seconds += wall_used
            run.progress.cpu_seconds += cpu_used * count / total
        return wall_used


def _updates(run: TrainingRun) -> str:
    return f"{run.progress.step} of {counted(run.total, 'update')}"
