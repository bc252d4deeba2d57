"""What the supervisor has to write: in order, in few transactions, kept until it is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from core.fault_points import reach
from core.reporting import Progress
from core.store import runs, scalars
from core.store.moves import lock_all
from core.store.session import Refused, Store
from core.store.studies import settling_late

log = logging.getLogger(__name__)

MAX_WAITING_POINTS = 200_000

Claim = tuple[str, int]
"""A run and the fence under which it is held; the same run may be claimed again under another."""

Write = Callable[[Session], bool]
"""Writes for one run; False: the claim was lost and nothing was changed."""


@dataclass
class _Points:
    run_id: str
    fence: int
    rows: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)

    def __call__(self, session: Session) -> bool:
        return scalars.append(session, self.run_id, self.fence, self.rows)


@dataclass
class _Entry:
    run_id: str
    fence: int
    write: Write
    after: Callable[[], None] | None = None
    about: Sequence[str] = ()

    @property
    def claim(self) -> Claim:
        """What the write needs to be held still."""
        return self.run_id, self.fence


class Outbox:
    """Ordered writes of all runs of a supervisor.

    A write that fails with the database stays and is tried again, so every write must be safe to
    repeat: each carries the fence of its attempt. Only a write of values that no database would
    take is dropped, so that it does not hold up all others.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: list[_Entry] = []
        self._points: dict[str, _Points] = {}
        self._progress: dict[str, tuple[int, Progress]] = {}
        self._num_points = 0
        self.is_urgent = False

    @property
    def is_empty(self) -> bool:
        """True when nothing waits."""
        return not self._entries and not self._progress

    @property
    def waiting(self) -> set[str]:
        """Runs about which something waits."""
        told = {run_id for entry in self._entries for run_id in (entry.run_id, *entry.about)}
        return told | set(self._progress)

    @property
    def is_full(self) -> bool:
        """True when the trainer should be left waiting: its pipe holds it up."""
        return self._num_points > MAX_WAITING_POINTS

    def add_points(
        self, run_id: str, fence: int, rows: Sequence[tuple[int, Mapping[str, float | None]]]
    ) -> None:
        """Add numbers of a run; they wait for the next flush."""
        points = self._points.get(run_id)
        if points is None or points.fence != fence:
            points = self._points[run_id] = _Points(run_id, fence)
            self._entries.append(_Entry(run_id, fence, points))
        for step, values in rows:
            points.rows.append((step, {name: _number(value) for name, value in values.items()}))
            self._num_points += len(values)

    def add_progress(self, run_id: str, fence: int, progress: Progress) -> None:
        """Replace what is known of where a run stands; it waits for the next flush."""
        self._progress[run_id] = (fence, progress)

    def add(
        self,
        run_id: str,
        fence: int,
        write: Write,
        *,
        urgent: bool = True,
        after: Callable[[], None] | None = None,
        about: Sequence[str] = (),
    ) -> None:
        """Add a write that comes after everything told so far about the run.

        Args:
            run_id: Its run; empty for a write about several.
            fence: Of the claim that the write needs; 0 for a write about several.
            write: Done in the next flush's transaction.
            urgent: Ask for a flush now.
            after: Side effect once the transaction is committed and the write said True.
            about: The several runs.
        """
        for told in (run_id, *about):
            self._settle_progress(told)
            self._points.pop(told, None)
        self._entries.append(_Entry(run_id, fence, write, after, about))
        self.is_urgent = self.is_urgent or urgent

    def forget(self, run_id: str, fence: int) -> None:
        """Drop all writes of a claim that was lost."""
        self._entries = [entry for entry in self._entries if entry.claim != (run_id, fence)]
        if run_id in self._points and self._points[run_id].fence == fence:
            del self._points[run_id]
        if run_id in self._progress and self._progress[run_id][0] == fence:
            del self._progress[run_id]

    def flush(self) -> set[Claim]:
        """Write everything, in one transaction unless a part of it is refused.

        Returns:
            Claims that were lost.

        Raises:
            StoreError: If the database fails; what is not written is kept for the next try.
        """
        for run_id in list(self._progress):
            self._settle_progress(run_id)
        # Points that come from now on need an entry behind those of this transaction.
        self._points.clear()
        try:
            lost = self._write(len(self._entries))
        except Refused:
            lost = self._write_singly()
        self._num_points = 0
        self.is_urgent = False
        return lost

    def _write_singly(self) -> set[Claim]:
        lost: set[Claim] = set()
        while self._entries:
            try:
                lost |= self._write(1)
            except Refused as error:
                entry = self._entries.pop(0)
                log.error("a message about run %s is dropped: %s", entry.run_id, error)
        return lost

    def _write(self, count: int) -> set[Claim]:
        """Write the first entries in one transaction; return the claims that were lost."""
        entries, done = self._entries[:count], list[bool]()

        def write(session: Session) -> list[bool]:
            lock_all(session, {told for one in entries for told in (one.run_id, *one.about)})
            with settling_late(session):
                return [entry.write(session) for entry in entries]

        if entries:
            durable = any(not isinstance(entry.write, _Points) for entry in entries)
            done = self._store.transact(write, durable=durable)
            reach("supervisor.recorded")
        del self._entries[:count]
        for entry, is_done in zip(entries, done, strict=True):
            if entry.after is not None and is_done:
                entry.after()
        return {entry.claim for entry, is_done in zip(entries, done, strict=True) if not is_done}

    def _settle_progress(self, run_id: str) -> None:
        if run_id in self._progress:
            fence, progress = self._progress.pop(run_id)
            self._entries.append(
                _Entry(
                    run_id,
                    fence,
                    lambda session: runs.progress(session, run_id, fence, progress),
                )
            )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
