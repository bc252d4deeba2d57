"""How soon a death is noticed at the default time-outs, and how soon the run steps again."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from core.store import runs
from tests.chaos.desk import Desk, desk
from tests.chaos.processes import slowness
from tests.worker_tools import queue_runs, wait_for

RESULTS = Path(__file__).resolve().parents[1] / "bench" / "results"
TIMES = 3


def defaults() -> tuple[float, float]:
    fields = Settings.model_fields
    return fields["lease_seconds"].default, fields["beat_seconds"].default


def test_the_death_of_a_trainer_is_noticed_within_a_second(home: Path) -> None:
    """At the default beat of two seconds: the pipe ends, nobody waits for a beat."""
    assert defaults() == (30.0, 2.0)
    with desk(home) as one:
        machine = one.machine("m0")
        noticed = [_after_a_crash(one, machine.name) for _ in range(TIMES)]
    # On a machine full of other work everything waits for its turn.
    assert statistics.median(noticed) <= slowness(), noticed


def _after_a_crash(one: Desk, name: str) -> float:
    """Kill the trainer of a run that steps; seconds until the run is back in the queue."""
    [run_id] = queue_runs(one.store, 1, max_updates=4000)
    one.watcher.wait_step(run_id, 5)
    attempt = one.watcher.run(run_id).attempt
    machine = next(service for service in one.services if service.name == name)
    pid = machine.trainer  # type: ignore[attr-defined]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: one.watcher.attempts(run_id)[attempt - 1].ended_at is not None)
    seconds = time.monotonic() - began
    assert "SIGKILL" in one.watcher.attempts(run_id)[attempt - 1].detail
    with one.store.write() as session:
        runs.request_cancel(session, run_id)
    wait_for(lambda: one.watcher.run(run_id).state == "cancelled")
    return seconds


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_run_of_a_dead_machine_steps_again_within_a_minute(home: Path) -> None:
    """The real engine on two machines that know nothing of each other's processes."""
    assert defaults() == (30.0, 2.0)
    with desk(home) as one:
        found = [_after_a_death(one, number) for number in range(TIMES)]
    target = RESULTS / "chaos-noticing.json"
    lease, beat = defaults()
    figures = {
        "lease_seconds": lease,
        "beat_seconds": beat,
        "deaths": found,
        "longest_until_noticed": max(death["noticed"] for death in found),
        "longest_until_stepping": max(death["stepping"] for death in found),
        "commit": os.environ.get("CHAOS_COMMIT", ""),
    }
    target.write_text(json.dumps(figures, indent=2) + "\n")
    assert max(death["stepping"] for death in found) <= 60.0 * slowness(), figures


def _after_a_death(one: Desk, number: int) -> dict[str, Any]:
    """Kill a whole machine whose run steps; seconds until it is noticed and steps elsewhere."""
    real = {"real_trainer": True, "quick_retries": False}
    first = one.machine(f"first-{number}", **real)
    [run_id] = queue_runs(
        one.store, 1, max_updates=20_000, evaluations=1000, batch_size=4, max_tokens=32
    )
    one.watcher.wait_step(run_id, 5, 120.0)
    second = one.machine(f"second-{number}", **real)
    wait_for(lambda: one.watcher.run(run_id).checkpoint_step, 120.0)
    began = time.monotonic()
    first.kill()
    wait_for(lambda: one.watcher.attempts(run_id)[0].ended_at is not None, 90.0)
    noticed = time.monotonic() - began
    start = one.watcher.run(run_id).checkpoint_step

    def steps_again() -> bool:
        run = one.watcher.run(run_id)
        return run.attempt == 2 and run.last_step > start

    wait_for(steps_again, 120.0)
    stepping = time.monotonic() - began
    assert f"first-{number} was lost" in one.watcher.told(run_id)
    assert f"claimed by worker second-{number}" in one.watcher.told(run_id)
    with one.store.write() as session:
        runs.request_cancel(session, run_id)
    wait_for(lambda: one.watcher.run(run_id).state == "cancelled", 60.0)
    assert second.leave() == 0
    return {
        "noticed": round(noticed, 1),
        "stepping": round(stepping, 1),
        "from_checkpoint": start,
    }
