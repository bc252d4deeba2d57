"""What a trainer tells, as writes to the database; paths become relative to the artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from core.fault_points import reach
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome
from core.store import runs, scalars
from core.store.session import Store
from worker.active import ActiveRun
from worker.outbox import Outbox
from worker.protocol import (
    CheckpointMessage,
    EndedMessage,
    HistogramMessage,
    NoticeMessage,
    ProgressMessage,
    ScalarsMessage,
)
from worker.shipping import Remover


class Recorder:
    """Puts writes into the outbox; each carries its run's fence.

    Args:
        store: The database.
        artifacts: Folder that registered paths are relative to.
        remover: Removes what is not needed any more.
    """

    def __init__(self, store: Store, artifacts: Path, remover: Remover) -> None:
        self.outbox = Outbox(store)
        self._remover = remover
        self.worker_id = ""
        self._artifacts = artifacts

    def started(self, run: ActiveRun, log_path: Path) -> None:
        """The trainer has the run."""
        path = str(log_path)
        self.outbox.add(
            run.id,
            run.fence,
            lambda session: runs.started(session, run.id, run.fence, log_path=path),
        )

    def progress(self, run: ActiveRun, message: ProgressMessage) -> None:
        """Where a run stands."""
        run.progress = Progress(**message.model_dump(exclude={"type", "run_id"}))
        self.outbox.add_progress(run.id, run.fence, run.progress)

    def scalars(self, run: ActiveRun, message: ScalarsMessage) -> None:
        """Numbers of a run."""
        self.outbox.add_points(run.id, run.fence, message.rows)

    def histogram(self, run: ActiveRun, message: HistogramMessage) -> None:
        """Counts of a run's choices."""
        name, step, counts = message.name, message.step, message.counts

        def write(session: Session) -> bool:
            return scalars.append_histogram(session, run.id, run.fence, name, step, counts)

        self.outbox.add(run.id, run.fence, write, urgent=False)

    def checkpoint(self, run: ActiveRun, message: CheckpointMessage) -> None:
        """Register a checkpoint; files of older ones go only after the rows say so."""
        checkpoint = Checkpoint(
            step=message.step,
            folder=Path(message.folder),
            sha256=message.sha256,
            num_bytes=message.num_bytes,
            is_best=message.is_best,
        )
        folder = self._relative(checkpoint.folder)
        dropped: list[str] = []

        def write(session: Session) -> bool:
            reach("checkpoint.told")
            # Of an earlier try of which nobody knows whether it was committed.
            dropped[:] = runs.unneeded(session, run.id, dropped)
            before = runs.registered_folder(session, run.id, run.attempt, checkpoint.step)
            if not runs.register_checkpoint(session, run.id, run.fence, checkpoint, folder=folder):
                return bool(dropped)
            dropped.extend(runs.prune_checkpoints(session, run.id, run.fence))
            if before is not None and before != folder:
                dropped.append(before)
            return True

        self.outbox.add(run.id, run.fence, write, after=lambda: self._remove(dropped))

    def notice(self, run: ActiveRun, message: NoticeMessage) -> None:
        """A sentence about the attempt for people."""
        text = message.text
        self.outbox.add(
            run.id,
            run.fence,
            lambda session: runs.notice(session, run.id, run.fence, text),
            urgent=False,
        )

    def stalled(self, run: ActiveRun, is_stalled: bool) -> None:
        """A run has not moved for long, or moves again."""
        self.outbox.add(
            run.id, run.fence, lambda session: runs.stalled(session, run.id, run.fence, is_stalled)
        )

    def ended(self, run: ActiveRun, message: EndedMessage, log_tail: str) -> None:
        """The end of a run's attempt in the trainer's words."""
        files = {name: Path(path) for name, path in message.files.items()}
        ending = Ending(message.outcome, message.kind, message.detail, message.result, files)
        self.end(run, ending, log_tail)

    def end(self, run: ActiveRun, ending: Ending, log_tail: str = "") -> None:
        """The end of a run's attempt; a success keeps its adapter and lets its checkpoints go.

        Args:
            log_tail: Last lines of the trainer's log.
        """
        files = {name: self._relative(path) for name, path in ending.files.items()}
        dropped: list[str] = []

        def write(session: Session) -> bool:
            dropped[:] = runs.unneeded(session, run.id, dropped)
            state = runs.end_attempt(
                session, run.id, run.fence, ending, files=files, log_tail=log_tail
            )
            dropped.extend(runs.drop_checkpoints(session, run.id, run.fence))
            return state is not None or bool(dropped)

        self.outbox.add(run.id, run.fence, write, after=lambda: self._remove(dropped))

    def cancelled(self, run: ActiveRun, detail: str, log_tail: str = "") -> None:
        """A run was stopped without the trainer's word."""
        self.end(run, Ending(Outcome.CANCELLED, detail=detail), log_tail)

    def drain(self, fences: Mapping[str, int], detail: str, log_tail: str = "") -> None:
        """Give runs back, budgets untouched."""
        tails = dict.fromkeys(fences, log_tail)

        def give_back(session: Session, worker_id: str) -> object:
            return runs.drain_all(session, worker_id, fences, detail, log_tails=tails)

        self._for_all(fences, give_back)

    def release(
        self, fences: Mapping[str, int], outcome: Outcome, detail: str, log_tail: str = ""
    ) -> None:
        """Give back the runs of a trainer that died; a single one is to blame, of several none."""
        tails = dict.fromkeys(fences, log_tail)

        def give_back(session: Session, worker_id: str) -> object:
            return runs.release_all(
                session, worker_id, fences, detail, outcome=outcome, log_tails=tails
            )

        self._for_all(fences, give_back)

    def _for_all(self, run_ids: Iterable[str], give_back: Callable[[Session, str], object]) -> None:
        worker_id, about = self.worker_id, tuple(run_ids)

        def write(session: Session) -> bool:
            give_back(session, worker_id)
            return True

        if about:
            self.outbox.add("", 0, write, about=about)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._artifacts)) if self._is_ours(path) else str(path)

    def _remove(self, folders: Sequence[str]) -> None:
        self._remover.remove(folder for folder in folders if not Path(folder).is_absolute())

    def _is_ours(self, path: Path) -> bool:
        return path != self._artifacts and path.is_relative_to(self._artifacts)
