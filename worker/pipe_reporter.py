"""The trainer's side of reporting: buffers, flushes a few times a second, never loses an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from core.reporting import Checkpoint, Ending, Progress
from core.states import StopKind
from worker.protocol import (
    MAX_POINTS,
    CheckpointMessage,
    EndedMessage,
    HistogramMessage,
    Message,
    NoticeMessage,
    ProgressMessage,
    ScalarsMessage,
    encode,
    finite,
)

FLUSH_SECONDS = 0.25


class PipeReporter:
    """Writes what training tells as lines; see ``core.reporting.Reporter``.

    Scalars and progress wait for at most ``FLUSH_SECONDS`` and the next call. Everything else,
    and a change of phase, goes out at once, after what came before it.

    Args:
        run_ids: Members of the group.
        write: Takes one encoded line.
        stop_wanted: Asked at every step boundary.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        run_ids: Iterable[str],
        write: Callable[[bytes], None],
        stop_wanted: Callable[[str], StopKind | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = dict.fromkeys(run_ids)
        self._write = write
        self._asked = stop_wanted
        self._clock = clock
        self._flushed_at = clock()
        self._num_values = 0
        self._rows: dict[str, dict[int, dict[str, float | None]]] = {}
        self._progress: dict[str, Progress] = {}
        self._phases: dict[str, str] = {}

    def open_runs(self) -> list[str]:
        """Members whose end has not been told."""
        return list(self._open)

    def progress(self, run_id: str, progress: Progress) -> None:
        """Tell where a run stands."""
        if run_id not in self._open:
            return
        self._progress[run_id] = progress
        changed = self._phases.get(run_id) != progress.phase
        self._phases[run_id] = progress.phase
        if changed:
            self.flush()
        else:
            self._flush_when_due()

    def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Tell numbers at one step."""
        if run_id not in self._open:
            return
        row = self._rows.setdefault(run_id, {}).setdefault(step, {})
        row.update({name: finite(float(value)) for name, value in values.items()})
        self._num_values += len(values)
        if self._num_values >= MAX_POINTS:
            self.flush()
        else:
            self._flush_when_due()

    def histogram(self, run_id: str, name: str, step: int, counts: Sequence[int]) -> None:
        """Tell how often each choice was taken."""
        if run_id in self._open:
            self.flush()
            numbers = tuple(int(count) for count in counts)
            self._send(HistogramMessage(run_id=run_id, name=name, step=step, counts=numbers))

    def checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Tell that a checkpoint is durable."""
        if run_id in self._open:
            self.flush()
            self._send(
                CheckpointMessage(
                    run_id=run_id,
                    step=checkpoint.step,
                    folder=str(checkpoint.folder),
                    sha256=checkpoint.sha256,
                    num_bytes=checkpoint.num_bytes,
                    is_best=checkpoint.is_best,
                )
            )

    def notice(self, run_id: str, text: str) -> None:
        """Tell a sentence that people should read about this attempt."""
        if run_id in self._open:
            self.flush()
            self._send(NoticeMessage(run_id=run_id, text=text))

    def ended(self, run_id: str, ending: Ending) -> None:
        """Tell the end of a run's attempt; later words about this run are dropped."""
        if run_id not in self._open:
            return
        self.flush()
        del self._open[run_id]
        self._send(
            EndedMessage(
                run_id=run_id,
                outcome=ending.outcome,
                kind=ending.kind,
                detail=ending.detail,
                result=finite(ending.result),
                files={name: str(path) for name, path in ending.files.items()},
            )
        )

    def stop_wanted(self, run_id: str) -> StopKind | None:
        """Ask whether the run must stop; also sends what has waited long enough."""
        self._flush_when_due()
        return self._asked(run_id)

    def flush(self) -> None:
        """Send everything that waits."""
        rows, self._rows = self._rows, {}
        progress, self._progress = self._progress, {}
        self._num_values = 0
        self._flushed_at = self._clock()
        for run_id, by_step in rows.items():
            self._send(ScalarsMessage(run_id=run_id, rows=tuple(by_step.items())))
        for run_id, latest in progress.items():
            self._send(
                ProgressMessage(
                    run_id=run_id,
                    phase=latest.phase,
                    step=latest.step,
                    total_steps=latest.total_steps,
                    seconds_per_step=finite(float(latest.seconds_per_step)) or 0.0,
                    num_trainable=dict(latest.num_trainable),
                    group=latest.group,
                )
            )

    def _flush_when_due(self) -> None:
        if self._clock() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def _send(self, message: Message) -> None:
        self._write(encode(message))
