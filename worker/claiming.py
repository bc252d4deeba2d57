"""From claimed rows to a group that a trainer can take."""

from __future__ import annotations

import uuid
from pathlib import Path

from pydantic import ValidationError

from core.recipe import RunConfig
from core.reporting import Ending
from core.states import Outcome
from core.store import runs
from core.store.session import Store
from worker.active import ActiveRun


def claim_group(store: Store, worker_id: str, limit: int, artifacts: Path) -> list[ActiveRun]:
    """Claim up to ``limit`` runs that can be trained together.

    A config that this version cannot read fails its run with the reason and is left out.

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
            run = _activate(row, config, artifacts)
            # Before the commit: runs without a folder stay queued until the disk has room again.
            run.folder.mkdir(parents=True, exist_ok=True)
            active.append(run)
    return active


def new_group_id() -> str:
    """Return a fresh name for a group."""
    return uuid.uuid4().hex[:12]


def _activate(row: runs.ClaimedRun, config: RunConfig, artifacts: Path) -> ActiveRun:
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
