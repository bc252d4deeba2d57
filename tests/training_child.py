"""A process that trains runs in children of its own, each of which may be killed at any moment.

It reads one job a line and answers ``{"code": …}`` when the child is gone. Libraries are
loaded once; a child starts with nothing else, and finds all about its run on disk. What training
tells is appended to the job's log, one JSON object a line, before the next statement.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import fault_points
from core.recipe import RunConfig
from core.reporting import Checkpoint, Ending, Progress
from core.states import StopKind
from core.training.group import Member, WarmBackbones, train_group
from core.training.loop import CHECKPOINT_SECONDS

STALL_SECONDS = 0.2


class LineReporter:
    """Writes all that is told to a file, and kills its own process when its time has come.

    Args:
        log: File to append to.
        kill_at: Step whose loss is the last to be told before the kill is on its way, 0: none.
        kill_after: Seconds from there to the kill.
    """

    def __init__(self, log: Path, kill_at: int = 0, kill_after: float = 0.0) -> None:
        self.step = 0
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kill_at, self._kill_after = kill_at, kill_after
        self._killing: threading.Timer | None = None

    def _tell(self, kind: str, run_id: str, **content: Any) -> None:
        line = json.dumps({"kind": kind, "run": run_id, **content})
        os.write(self._log, line.encode() + b"\n")

    def progress(self, run_id: str, progress: Progress) -> None:
        self.step = max(self.step, progress.step)

    def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        self.step = step
        numbers = {name: float(value).hex() for name, value in values.items()}
        self._tell("scalars", run_id, step=step, values=numbers)
        if step == self._kill_at and "train/loss" in values:
            if not self._kill_after:
                kill_me()
            self._killing = threading.Timer(self._kill_after, kill_me)
            self._killing.start()

    def histogram(self, run_id: str, name: str, step: int, counts: Sequence[int]) -> None:
        self._tell("histogram", run_id, step=step, name=name, counts=list(counts))

    def checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        content = {"step": checkpoint.step, "folder": str(checkpoint.folder)}
        self._tell("checkpoint", run_id, **content, sha256=checkpoint.sha256)

    def notice(self, run_id: str, text: str) -> None:
        self._tell("notice", run_id, text=text)

    def ended(self, run_id: str, ending: Ending) -> None:
        if self._killing is not None:
            self._killing.join()
        self._tell(
            "ended",
            run_id,
            outcome=ending.outcome.value,
            reason=ending.kind,
            detail=ending.detail,
            result=dict(ending.result),
            files={name: str(path) for name, path in ending.files.items()},
        )

    def stop_wanted(self, run_id: str) -> StopKind | None:
        return None


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS: dict[str, Callable[[], None]] = {
    "kill": kill_me,
    "full": refuse,
    "stall": lambda: time.sleep(STALL_SECONDS),
}


def fault_at(point: str, fault: str, passes: int) -> Callable[[str], None]:
    """Make something fail when a point is passed for the n-th time."""
    seen = [0]

    def on_point(name: str) -> None:
        if name == point:
            seen[0] += 1
            if seen[0] == passes:
                FAULTS[fault]()

    return on_point


def work(job: Mapping[str, Any]) -> None:
    """Train one run as a job says; checkpoints are due by steps, not by seconds."""
    reporter = LineReporter(Path(job["log"]), job.get("kill_at", 0), job.get("kill_after", 0.0))
    if "point" in job:
        fault_points.install(fault_at(job["point"], job["fault"], job["passes"]))
    member = Member(
        "r0",
        RunConfig.model_validate_json(job["config"]),
        Path(job["folder"]),
        Path(job["resume_from"]) if job.get("resume_from") else None,
    )
    warm = WarmBackbones(offline=True, threads=int(job.get("threads", 1)))
    seconds_a_step = CHECKPOINT_SECONDS / job["every"]
    train_group([member], reporter, warm, clock=lambda: reporter.step * seconds_a_step)


def load_libraries(config: RunConfig) -> None:
    """Do once what every child would do first; nothing of it belongs to a run."""
    importlib.import_module("pandas")  # by pyarrow, for the first table
    WarmBackbones(offline=True, threads=1).for_run(config)


def in_child(job: Mapping[str, Any]) -> int:
    """Do a job in a child; return its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work(job)
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    is_loaded = False
    for line in sys.stdin:
        job = json.loads(line)
        if not is_loaded:
            load_libraries(RunConfig.model_validate_json(job["config"]))
            is_loaded = True
        sys.stdout.write(json.dumps({"code": in_child(job)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
