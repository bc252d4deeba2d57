"""What training tells and asks while it runs; the trainer process and tests implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.states import Outcome, StopKind


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: ``loading``, ``training``, ``evaluating``, ``testing`` or ``auditing``, behind
            which the rows that went through the backbone so far may stand.
        step: Updates done.
        total_steps: Updates planned.
        seconds_per_step: Smoothed wall time of one update, 0 when unknown.
        num_trainable: Trainable parameters that the optimiser holds, by parameter group.
        group: How many runs train together with this one, itself included.
    """

    phase: str
    step: int
    total_steps: int
    seconds_per_step: float = 0.0
    num_trainable: Mapping[str, int] = field(default_factory=dict)
    group: int = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is complete and durable on disk.

    Attributes:
        step: Updates done when it was taken.
        folder: Folder with ``adapter.safetensors``, ``state.safetensors`` and ``state.json``.
        sha256: Digest of the manifest.
        num_bytes: Size of the folder's files.
        is_best: True when its dev value is the best so far.
    """

    step: int
    folder: Path
    sha256: str
    num_bytes: int
    is_best: bool = False


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, with everything that enters tables.

    Attributes:
        outcome: ``succeeded``, ``failed``, ``cancelled``, ``drained`` or ``out_of_memory``.
        kind: Stable slug of the reason, for example ``diverged``; empty on success.
        detail: Sentence for people.
        result: Numbers of a succeeded run (see ``core.training.results``), else empty.
        files: Artifacts by name (``adapter``, ``predictions``, ``environment``).
    """

    outcome: Outcome
    kind: str = ""
    detail: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@runtime_checkable
class Reporter(Protocol):
    """Receiver of everything that a group of runs tells, by run id."""

    def progress(self, run_id: str, progress: Progress) -> None:
        """Tell where a run stands."""

    def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Tell numbers at one step; NaN and infinity are allowed and stored as gaps."""

    def histogram(self, run_id: str, name: str, step: int, counts: Sequence[int]) -> None:
        """Tell how often each choice was taken on the probe examples."""

    def checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Tell that a checkpoint is durable."""

    def notice(self, run_id: str, text: str) -> None:
        """Tell a sentence that people should read about this attempt; it changes nothing."""

    def ended(self, run_id: str, ending: Ending) -> None:
        """Tell the end of a run's attempt; nothing follows for this run."""

    def stop_wanted(self, run_id: str) -> StopKind | None:
        """Ask, at a step boundary, whether the run must stop."""
