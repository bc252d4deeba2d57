"""A real worker process that stands for another machine, with places where it can be hit.

``CHAOS_WORKER`` holds JSON with ``name`` (also the machine's), ``folder`` (for orders to this
process and for what it counts), ``home`` (marks its trainers), ``fenced`` (False: the control),
``real_trainer`` and ``quick_retries``. What is changed here is the machine's name, the trainer's
program, the waits after a crash, and nothing else while ``fenced`` holds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / "tests" / "chaos" / "trainer.py"
BACK_OFF_SECONDS = (0.2, 0.4, 0.8)
HOME_MARK = "CHAOS_HOME"
FLUSH, FLUSHED = "outbox.flush", "outbox.flushed"
FLUSH_CHECKPOINT = "outbox.flush-checkpoint"
"""Places of this module: the supervisor has something to write and no transaction yet; it has
written, and done nothing with what it learned; a checkpoint is among what it has to write."""


class Place:
    """Orders to this process and its counters, as files that outlive it.

    An order file ``order-<name>`` holds a point and a signal: the process sends itself that signal
    when it passes the point, once.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._order = folder / f"order-{name}"
        self._counts = folder / f"counts-{name}"

    def visit(self, point: str) -> None:
        try:
            wanted, number = self._order.read_text().split()
        except (OSError, ValueError):
            return
        if wanted != point:
            return
        self._order.unlink(missing_ok=True)
        self.count(f"hit {point}")
        os.kill(os.getpid(), int(number))

    def count(self, word: str) -> None:
        with self._counts.open("a") as file:
            file.write(word + "\n")


def install_points(place: Place) -> None:
    fault_points = importlib.import_module("core.fault_points")
    outbox = importlib.import_module("worker.outbox").Outbox
    recorder = importlib.import_module("worker.recorder").Recorder
    flush, checkpoint = outbox.flush, recorder.checkpoint
    with_checkpoint = False
    fault_points.install(place.visit)

    def noting(self: Any, *told: Any) -> Any:
        nonlocal with_checkpoint
        with_checkpoint = True
        return checkpoint(self, *told)

    def visiting(self: Any) -> Any:
        if self.is_empty:
            return flush(self)
        nonlocal with_checkpoint
        if with_checkpoint:
            with_checkpoint = False
            place.visit(FLUSH_CHECKPOINT)
        place.visit(FLUSH)
        lost = flush(self)
        place.visit(FLUSHED)
        return lost

    outbox.flush, recorder.checkpoint = visiting, noting


def watch_guards(place: Place, fenced: bool) -> None:
    """Count what fences hold off; without fences let it pass. Before other imports of the store."""
    moves = importlib.import_module("core.store.moves")
    claimed = moves.lock_claimed

    def lock_claimed(session: Any, run_id: str, fence: int, *more: Any, **named: Any) -> Any:
        held = claimed(session, run_id, fence, *more, **named)
        if held is not None or (now := _fence(session, run_id)) == fence:
            return held
        place.count("fenced write" if fenced else "unfenced write")
        return None if fenced else claimed(session, run_id, now, *more, **named)

    moves.lock_claimed = lock_claimed
    runs = importlib.import_module("core.store.runs")
    progress, beat = runs.progress, runs.beat

    def watched_progress(session: Any, run_id: str, fence: int, *more: Any) -> bool:
        done = bool(progress(session, run_id, fence, *more))
        if done or (now := _fence(session, run_id)) == fence:
            return done
        place.count("fenced write" if fenced else "unfenced write")
        return done if fenced else bool(progress(session, run_id, now, *more))

    def watched_beat(
        session: Any, worker_id: str, fences: Mapping[str, int], **named: Collection[str]
    ) -> dict[str, Any]:
        answers = dict(beat(session, worker_id, fences, **named))
        for run_id in [run_id for run_id, word in answers.items() if word == "lost"]:
            place.count("told lost" if fenced else "lost untold")
            if not fenced:
                answers[run_id] = None
        return answers

    runs.progress, runs.beat = watched_progress, watched_beat


def _fence(session: Any, run_id: str) -> int:
    sqlalchemy = importlib.import_module("sqlalchemy")
    run = importlib.import_module("core.store.models").Run
    found = session.scalar(sqlalchemy.select(run.fence).where(run.id == run_id))
    return -1 if found is None else int(found)


def retry_soon() -> None:
    outcomes = importlib.import_module("core.store.outcomes")
    outcomes.BACK_OFF_SECONDS = dict.fromkeys(outcomes.BACK_OFF_SECONDS, BACK_OFF_SECONDS)


def be_another_machine(host: str) -> None:
    """No observer may find this process dead by its pid."""
    identity = importlib.import_module("worker.identity")
    own = identity.own_identity
    identity.own_identity = lambda: replace(own(), host=host)


def use_trainer(home: str, is_real: bool) -> None:
    """Start our trainer where the worker would start its own; mark whose it is."""
    module = importlib.import_module("worker.trainer_process")
    process = module.TrainerProcess

    def start(
        command: Sequence[str], environment: Mapping[str, str], *more: Any, **named: Any
    ) -> Any:
        ours = list(command) if is_real else [command[0], "-P", str(TRAINER), *command[3:]]
        marked = {**environment, "PYTHONPATH": str(ROOT), HOME_MARK: home}
        return process(ours, marked, *more, **named)

    module.TrainerProcess = start


def main() -> int:
    told = json.loads(os.environ["CHAOS_WORKER"])
    place = Place(told["name"], Path(told["folder"]))
    watch_guards(place, told["fenced"])
    if told.get("quick_retries", True):
        retry_soon()
    be_another_machine(f"machine of {told['name']}")
    use_trainer(told["home"], told.get("real_trainer", False))
    install_points(place)
    worker = importlib.import_module("worker.__main__")
    return int(worker.main(["--device", "cpu", "--name", told["name"]]))


if __name__ == "__main__":
    sys.exit(main())
