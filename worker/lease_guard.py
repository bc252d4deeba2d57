"""Ends a trainer whose supervisor cannot beat, even while the supervisor itself is held up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from worker.trainer_process import TrainerProcess

log = logging.getLogger(__name__)

LOOKS = 30
LONGEST_LOOK = 0.5
LATE_LOOKS = 4


class LeaseGuard:
    """A thread that ends the trainer when no beat has succeeded for too long.

    The supervisor does so itself while its loop turns; a database that neither answers nor refuses
    holds the loop up inside a call, and this thread does not wait for it. It touches nothing but
    the process: the loop finds the trainer dead, and why, when it turns again.

    Args:
        seconds: Longest time between two beats, below the lease.
        busy_process: The trainer, None while it has no group.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        seconds: float,
        busy_process: Callable[[], TrainerProcess | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._busy_process = busy_process
        self._clock = clock
        self._beaten_at = clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lease", daemon=True)

    @property
    def silence(self) -> float:
        """Seconds since the last beat that succeeded began."""
        return self._clock() - self._beaten_at

    @property
    def is_over(self) -> bool:
        """True when the trainer must not go on."""
        return self.silence > self._seconds

    def beaten(self, began_at: float) -> None:
        """Take note of a beat that succeeded.

        Args:
            began_at: When it began, in monotonic seconds: others may have seen it from then on.
        """
        self._beaten_at = began_at

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopping.set()
        self._thread.join()

    def describe(self) -> str:
        """Say for how long there was no beat, as part of a sentence."""
        return f"the database could not be reached for {self.silence:.0f} seconds"

    def _watch(self) -> None:
        pause = min(LONGEST_LOOK, self._seconds / LOOKS)
        before, was_late = self._clock(), False
        while not self._stopping.wait(pause):
            now = self._clock()
            # A process that was paused as a whole first gets the chance to beat.
            is_late = now - before > LATE_LOOKS * pause and not was_late
            before, was_late = now, is_late
            process = self._busy_process()
            if is_late or process is None or process.cut_off or not self.is_over:
                continue
            log.error("the trainer is ended: %s", self.describe())
            process.cut(self.describe())
