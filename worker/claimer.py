"""When a worker may take runs, and what it says while it may not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import exists, select

from core.disk import FULL_BYTES, FULL_SHARE, room, size
from core.fault_points import reach
from core.store import migrate
from core.store.models import Run
from core.store.session import Store
from core.store.waiting import ready, suits
from worker.active import ActiveRun
from worker.claiming import Elsewhere, claim_group

log = logging.getLogger(__name__)


class Claimer:
    """Claims groups for one worker; nothing while they would have no room or no sense.

    Args:
        store: The database.
        artifacts: Folder of checkpoints and artifacts on this machine.
        queues: Queues that the worker serves.
        memory_bytes: Memory of its device, 0 when it is not known.
        is_shared: True when artifacts also stand in a place for all machines.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Path,
        queues: Sequence[str],
        memory_bytes: int,
        *,
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._queues = tuple(queues)
        self._memory_bytes = memory_bytes
        self._is_shared = is_shared
        self._told = ""
        self._elsewhere = Elsewhere()

    def claim(self, worker_id: str, limit: int) -> list[ActiveRun] | None:
        """Claim up to ``limit`` runs that can be trained together; None: it may take none now.

        Raises:
            StoreError: If the database refuses; what was claimed all the same comes back with
                the next beat.
        """
        why, claimed = _no_room(self._artifacts), list[ActiveRun]()
        if not why:
            try:
                claimed = claim_group(
                    self._store,
                    worker_id,
                    limit,
                    self._artifacts,
                    self._is_shared,
                    self._elsewhere,
                )
                if claimed:
                    reach("supervisor.claimed")
            except OSError as error:
                why = f"queued runs wait, for their folders cannot be made: {error}"
        if not why and not claimed:
            with self._store.read() as session:
                why = migrate.layout_problem(session)
        if why:
            self._tell(why)
            return None
        if self._told:
            log.info("runs are taken again")
            self._told = ""
        return claimed

    def is_wanted_above(self, priority: int) -> bool:
        """Tell whether a run that this worker could take has a higher priority than this.

        Raises:
            StoreError: If the database refuses.
        """
        takes = (*suits(self._queues, self._memory_bytes), Run.id.not_in(self._elsewhere.run_ids))
        wanted = (*ready(), *takes, Run.priority > priority)
        with self._store.read() as session:
            return bool(session.scalar(select(exists().where(*wanted))))

    def _tell(self, why: str) -> None:
        """Say once why nothing is claimed, however the numbers in the sentence change."""
        kind = why.partition(" ")[0]
        if kind != self._told:
            log.error("%s", why)
        self._told = kind


def _no_room(folder: Path) -> str:
    """Say that the disk of a folder has too little room for another checkpoint; "" when not."""
    found = room(folder)
    if found is None or found.level != "full":
        return ""
    return (
        f"no runs are taken: the disk of {folder} has {size(found.free)} free ({found.share:.1%}), "
        f"and less than {size(FULL_BYTES)} or {FULL_SHARE:.0%} may not hold their checkpoints. "
        "Free some space there."
    )
