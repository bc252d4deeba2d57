"""From claimed rows to a group that a trainer can take."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import ConfigError, StartError
from core.recipe import RunConfig
from core.reporting import Ending
from core.states import Outcome
from core.store import runs
from core.store.models import Attempt, Worker
from core.store.models_data import Checkpoint
from core.store.session import Store
from core.stored_config import read_config
from worker.active import ActiveRun

ELSEWHERE_SECONDS = 300.0


class Elsewhere:
    """Runs whose checkpoints are on another machine; this worker leaves them alone for a while.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Runs that are left alone now."""
        now = self._clock()
        self._until = {run_id: until for run_id, until in self._until.items() if until > now}
        return tuple(self._until)

    def add(self, run_id: str) -> None:
        """Leave a run alone from now on."""
        self._until[run_id] = self._clock() + ELSEWHERE_SECONDS


def claim_group(
    store: Store,
    worker_id: str,
    limit: int,
    artifacts: Path,
    is_shared: bool = False,
    elsewhere: Elsewhere | None = None,
) -> list[ActiveRun]:
    """Claim up to ``limit`` runs that can be trained together.

    A config that this version cannot read fails its run with the reason and is left out; so does
    a run that starts from another one whose adapter is gone. A run whose checkpoint is on another
    machine goes back to the queue as it was.

    Args:
        artifacts: Folder of checkpoints and artifacts on this machine.
        is_shared: True when artifacts also stand in a place for all machines.
        elsewhere: Runs that are not taken; those that have to go back are added.

    Raises:
        StoreError: If the database refuses; nothing was claimed.
        OSError: If a folder cannot be made; nothing was claimed.
    """
    elsewhere = elsewhere or Elsewhere()
    with store.write() as session:
        claimed = runs.claim(session, worker_id, limit, but=elsewhere.run_ids)
        active = []
        for row in claimed:
            try:
                config = read_config(row.config, row.slug)
            except ConfigError as error:
                unreadable = Ending(Outcome.FAILED, kind=error.code, detail=str(error))
                runs.end_attempt(session, row.id, row.fence, unreadable)
                continue
            if not is_shared and _is_elsewhere(session, worker_id, row, artifacts):
                elsewhere.add(row.id)
                runs.end_attempt(session, row.id, row.fence, _not_here(row, artifacts))
                continue
            try:
                init_from = _start_of(session, row, config, artifacts, is_shared)
            except StartError as error:
                ending = Ending(Outcome.FAILED, kind=error.code, detail=str(error))
                runs.end_attempt(session, row.id, row.fence, ending)
                continue
            run = _activate(row, config, artifacts, init_from)
            # Before the commit: runs without a folder stay queued until the disk has room again.
            run.folder.mkdir(parents=True, exist_ok=True)
            active.append(run)
    return active


def new_group_id() -> str:
    """Return a fresh name for a group."""
    return uuid.uuid4().hex[:12]


def _start_of(
    session: Session, row: runs.ClaimedRun, config: RunConfig, artifacts: Path, is_shared: bool
) -> Path | None:
    """Find the adapter that a run starts from; a run that continues needs none.

    Raises:
        StartError: If that run has no adapter, or its folder is gone.
    """
    if not config.init_from or row.checkpoint:
        return None
    registered = runs.adapter_folder(session, config.init_from)
    # What is in the place for all is fetched, and missed, by the trainer.
    is_here = registered is not None and (is_shared or (artifacts / registered).is_dir())
    if registered is None or not is_here:
        raise StartError(
            f"The run to start from ({config.init_from}) has no adapter any more.",
            hint="Start from another run, or from none.",
        )
    return artifacts / registered


def _is_elsewhere(session: Session, worker_id: str, row: runs.ClaimedRun, artifacts: Path) -> bool:
    """Tell whether the checkpoint of a run is missing here because it was written elsewhere.

    One that was written in this home folder and is gone is damaged, which the trainer finds out.
    """
    if row.checkpoint is None or (artifacts / row.checkpoint).is_dir():
        return False
    wrote = session.execute(
        select(Worker.host, Attempt.log_path)
        .join(Attempt, Attempt.worker_id == Worker.id)
        .join(
            Checkpoint,
            (Checkpoint.run_id == Attempt.run_id) & (Checkpoint.attempt == Attempt.attempt),
        )
        .where(Checkpoint.run_id == row.id, Checkpoint.folder == row.checkpoint)
    ).first()
    if wrote is None:
        return False
    host = session.scalar(select(Worker.host).where(Worker.id == worker_id))
    is_of_this_home = not wrote.log_path or Path(wrote.log_path).is_relative_to(artifacts.parent)
    return wrote.host != host or not is_of_this_home


def _not_here(row: runs.ClaimedRun, artifacts: Path) -> Ending:
    return Ending(
        Outcome.DRAINED,
        kind="not_here",
        detail=f"Its checkpoint {row.checkpoint_step} is on another machine or in another home "
        f"folder, not in {artifacts}, so it waits for a worker there. Set STUDIO_ARTIFACTS_URL on "
        "every machine to share checkpoints; if that machine is gone, clone the run to train it "
        "from the beginning. It was given back",
    )


def _activate(
    row: runs.ClaimedRun, config: RunConfig, artifacts: Path, init_from: Path | None
) -> ActiveRun:
    return ActiveRun(
        id=row.id,
        slug=row.slug,
        config=config,
        fence=row.fence,
        attempt=row.attempt,
        priority=row.priority,
        folder=artifacts / "runs" / row.id / f"{row.attempt}-{row.fence}",
        resume_from=artifacts / row.checkpoint if row.checkpoint else None,
        resume_step=row.checkpoint_step,
        init_from=init_from,
    )
