"""From claimed rows to a group that a trainer can take."""

from __future__ import annotations

import uuid
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.errors import StartError
from core.recipe import RunConfig
from core.reporting import Ending
from core.states import Outcome
from core.store import runs
from core.store.session import Store
from worker.active import ActiveRun


def claim_group(
    store: Store, worker_id: str, limit: int, artifacts: Path, is_shared: bool = False
) -> list[ActiveRun]:
    """Claim up to ``limit`` runs that can be trained together.

    A config that this version cannot read fails its run with the reason and is left out; so does
    a run that starts from another one whose adapter is gone.

    Raises:
        StoreError: If the database refuses; nothing was claimed.
        OSError: If a folder cannot be made; nothing was claimed.
    """
    with store.write() as session:
        claimed = runs.claim(session, worker_id, limit)
        active = []
        for row in claimed:
            try:
                config = RunConfig.model_validate_json(row.config)
            except ValidationError as error:
                runs.end_attempt(session, row.id, row.fence, _unreadable(error))
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


def _unreadable(error: ValidationError) -> Ending:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return Ending(
        Outcome.FAILED,
        kind="config",
        detail=f"The stored config cannot be read by this version: {first['msg']} at '{place}'. "
        "Write its settings anew in a new study, or train it with the version that made it.",
    )
