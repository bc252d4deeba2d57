"""Between the engine and the pipe: files reach the place for all machines before they are told.

Only where a place for all is set. A place that refuses gets a few tries; then the attempt of the
run ends like a crash, so that another attempt, perhaps elsewhere, goes on from what was published.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from core.artifacts import ArtifactError, ArtifactGone, ArtifactStore, refusal
from core.errors import DamagedCheckpoint, StartError, StudioError
from core.fault_points import reach
from core.reporting import Checkpoint, Ending, Progress, Reporter
from core.states import Outcome, StopKind
from worker.protocol import TrainMember

PAUSES = (1.0, 3.0)
"""Seconds before the second and the third try."""

log = logging.getLogger(__name__)


class ShippingReporter:
    """Publishes the files of checkpoints and endings, then tells of them.

    Args:
        reporter: Who is told.
        artifacts: Where files go.
        sleep: Waits between tries.
    """

    def __init__(
        self,
        reporter: Reporter,
        artifacts: ArtifactStore,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reporter = reporter
        self._artifacts = artifacts
        self._sleep = sleep
        self._given_up: set[str] = set()

    def fetched(self, members: Sequence[TrainMember]) -> list[TrainMember]:
        """Bring what members start from to this machine; end those for which it fails."""
        return [member for member in members if self._fetch_start(member)]

    def progress(self, run_id: str, progress: Progress) -> None:
        """Tell where a run stands."""
        self._reporter.progress(run_id, progress)

    def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Tell numbers at one step."""
        self._reporter.scalars(run_id, step, values)

    def histogram(self, run_id: str, name: str, step: int, counts: Sequence[int]) -> None:
        """Tell how often each choice was taken."""
        self._reporter.histogram(run_id, name, step, counts)

    def notice(self, run_id: str, text: str) -> None:
        """Tell a sentence that people should read about this attempt."""
        self._reporter.notice(run_id, text)

    def checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Publish a checkpoint, then tell of it."""
        if self._publish(run_id, [checkpoint.folder]):
            self._reporter.checkpoint(run_id, checkpoint)

    def ended(self, run_id: str, ending: Ending) -> None:
        """Publish an ending's files, then tell it."""
        if self._publish(run_id, ending.files.values()):
            self._reporter.ended(run_id, ending)

    def stop_wanted(self, run_id: str) -> StopKind | None:
        """Ask whether a run must stop; one whose files cannot be published must."""
        return StopKind.CANCEL if run_id in self._given_up else self._reporter.stop_wanted(run_id)

    def _publish(self, run_id: str, paths: Iterable[Path]) -> bool:
        """Publish; False when it failed and the run's attempt was ended."""
        if run_id in self._given_up:
            return False
        paths = list(paths)
        try:
            if self._artifacts.is_shared:
                for path in paths:
                    self._try(partial(self._artifacts.publish, path))
            if paths:
                reach("artifact.published")
        except OSError as error:
            self._give_up(run_id, _crash(refusal("An artifact could not be published", error)))
            return False
        except StudioError as error:
            self._give_up(run_id, _crash(error))
            return False
        return True

    def _fetch_start(self, member: TrainMember) -> bool:
        """Fetch a checkpoint or an adapter; False when the member was ended for lack of it."""
        start = member.resume_from or member.init_from
        if start is None or not self._artifacts.is_shared:
            return True
        try:
            name = self._artifacts.name_of(Path(start))
            self._try(partial(self._artifacts.fetch, name))
        except ArtifactGone as error:
            kind = DamagedCheckpoint.code if member.resume_from else StartError.code
            self._give_up(member.run_id, Ending(Outcome.FAILED, kind, str(error)))
            return False
        except StudioError as error:
            self._give_up(member.run_id, _crash(error))
            return False
        return True

    def _try(self, what: Callable[[], object]) -> None:
        """Do something with the place; once more after each pause while it refuses."""
        for pause in PAUSES:
            try:
                what()
            except ArtifactGone:
                raise
            except ArtifactError as error:
                log.warning("%s Trying again in %.0f s.", error, pause)
                self._sleep(pause)
            else:
                return
        what()

    def _give_up(self, run_id: str, ending: Ending) -> None:
        log.error("%s", ending.detail)
        self._given_up.add(run_id)
        self._reporter.ended(run_id, ending)


def _crash(error: StudioError) -> Ending:
    """Another attempt may succeed, unless it is not the place that is at fault."""
    is_place = isinstance(error, ArtifactError)
    return Ending(Outcome.CRASHED if is_place else Outcome.FAILED, error.code, str(error))


class Remover:
    """Removes artifacts, here and from the place for all, in a thread: nobody waits for it.

    Args:
        artifacts: Where from.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._names: queue.Queue[str | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def remove(self, names: Iterable[str]) -> None:
        """Remove artifacts soon; what is refused stays there and is told in the log."""
        for name in names:
            self._names.put(name)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="remover", daemon=True)
            self._thread.start()

    def close(self, seconds: float = 2.0) -> None:
        """Wait a moment for what is still to be removed."""
        if self._thread is not None:
            self._names.put(None)
            self._thread.join(seconds)

    def _work(self) -> None:
        while (name := self._names.get()) is not None:
            try:
                self._artifacts.remove(name)
            except (StudioError, OSError) as error:
                log.warning("an old checkpoint stays where it is: %s", error)
