"""Lives of runs: history, fences, leases, results and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.states import ACTIVE, ENDED, Outcome, RunState, may_move
from core.store.check.report import Finding, Life
from core.wording import counted

RESTORE = "restore a backup, or launch it again"
RESTART = "restart its worker; if it stays so, cancel and retry the run"
AGAIN = "launch it again, its numbers are not complete"
REPAIR = "retry it; if it stays so, launch it again"


def examine_life(life: Life) -> Iterator[Finding]:
    """Look at one run with its events and attempts."""
    for examine in (_history, _endings, _attempts, _lease, _result, _columns):
        yield from examine(life)


def _history(life: Life) -> Iterator[Finding]:
    """Versions 1..n without gaps, only moves of the table, the last one leads to the state."""
    events, run = life.events, life.row
    if not events or [version for version, _, _ in events] != list(range(1, len(events) + 1)):
        yield life.finding("its events are not numbered from 1 without gaps", RESTORE)
        return
    previous = ""
    for version, before, after in events:
        if before != previous:
            what = f"event {version} leaves {before}, but the run was {previous}"
            yield life.finding(what, RESTORE)
        elif version == 1 and after != RunState.QUEUED:
            yield life.finding(f"it began as {after}", RESTORE)
        elif version > 1 and not may_move(before, after):
            what = f"event {version} moves from {before} to {after}, which may not be"
            yield life.finding(what, RESTORE)
        previous = after
    if (previous, len(events)) != (run.state, run.version):
        yield life.finding(
            f"it is {run.state} at version {run.version}, its events end with {previous} at "
            f"version {len(events)}",
            RESTORE,
        )


def _endings(life: Life) -> Iterator[Finding]:
    """An ended run ended once since it was last queued again, any other one not at all."""
    since: list[str] = []
    for _, before, after in life.events:
        if before in ENDED:
            since = []
        if after in ENDED:
            since.append(after)
    wanted = 1 if life.row.state in ENDED else 0
    if len(since) != wanted:
        told = ", ".join(since) or "none"
        yield life.finding(
            f"it is {life.row.state} with {len(since)} endings since it was last queued again "
            f"({told})",
            RESTORE,
        )


def _attempts(life: Life) -> Iterator[Finding]:
    """Fences rise over attempts, attempts are the claims, only the last of a held run lives."""
    run, tries = life.row, life.tries
    for index, one in enumerate(tries):
        before = tries[index - 1] if index else None
        if one.number != index + 1:
            yield life.finding(f"attempt {one.number} has no predecessor", RESTORE)
        if before and one.fence <= before.fence:
            yield life.finding(f"the fence did not rise at attempt {one.number}", RESTORE)
        if before and before.lives:
            yield life.finding(f"attempt {before.number} never ended", REPAIR)
        if one.lives != (one.outcome == ""):
            told = one.outcome or "no outcome"
            what = f"attempt {one.number} has {told} and " + (
                "goes on" if one.lives else "has ended"
            )
            yield life.finding(what, RESTORE)
    if run.attempt != len(tries):
        what = f"it counts {counted(run.attempt, 'attempt')}, recorded: {len(tries)}"
        yield life.finding(what, RESTORE)
        return
    claims = sum(after == RunState.STARTING for _, _, after in life.events)
    if claims != len(tries):
        tried = counted(len(tries), "attempt")
        yield life.finding(f"it was claimed {counted(claims, 'time')} in {tried}", RESTORE)
    if tries:
        yield from _last_attempt(life)


def _last_attempt(life: Life) -> Iterator[Finding]:
    run, last = life.row, life.tries[-1]
    if last.lives != (run.state in ACTIVE):
        what = f"it is {run.state}, but its last attempt " + (
            "has not ended" if last.lives else "has ended"
        )
        yield life.finding(what, REPAIR)
    if last.lives and (last.fence, last.worker_id) != (run.fence, run.worker_id):
        yield life.finding("its attempt belongs to another claim", REPAIR)
    if run.fence < last.fence:
        what = f"its fence {run.fence} is behind its last attempt's, {last.fence}"
        yield life.finding(what, RESTORE)
    if run.state == RunState.SUCCEEDED and last.outcome != Outcome.SUCCEEDED:
        yield life.finding(f"it succeeded, but its last attempt {last.outcome}", RESTORE)


def _lease(life: Life) -> Iterator[Finding]:
    """A held run has a worker that counts as alive: only those are judged when they are silent."""
    run = life.row
    if run.state not in ACTIVE:
        if run.worker_id is not None:
            yield life.finding(f"it is {run.state} and still held by a worker", RESTART)
        if run.is_stalled:
            yield life.finding(f"it is {run.state} and counts as stalled", REPAIR)
        return
    if run.worker_state != "alive":
        told = run.worker_state or "not registered"
        yield life.finding(f"it is {run.state}, but its worker is {told}", RESTART)
    elif run.worker_role != "train":
        yield life.finding(
            f"it is held by a worker that does not train ({run.worker_role})", RESTART
        )
    if run.state == RunState.STOPPING and run.cancel_requested_at is None:
        yield life.finding("it is stopping, but nobody asked for it", RESTART)


def _result(life: Life) -> Iterator[Finding]:
    """Only succeeded runs have a result, only ended ones an end."""
    run = life.row
    if run.has_result != (run.state == RunState.SUCCEEDED):
        what = f"it is {run.state} and has " + ("a result" if run.has_result else "no result")
        yield life.finding(what, AGAIN)
    if (run.ended_at is not None) != (run.state in ENDED):
        yield life.finding(f"it is {run.state} and its end says {run.ended_at}", RESTORE)


def _columns(life: Life) -> Iterator[Finding]:
    run = life.row
    if not run.queue.strip():
        yield life.finding("it waits in a queue without a name", "launch it again in a named queue")
    if run.memory_bytes < 0:
        yield life.finding(f"it needs {run.memory_bytes} bytes of memory", "launch it again")
    if run.group_size < 1:
        yield life.finding(f"it was trained in a group of {run.group_size}", "launch it again")


def examine_kept(
    life: Life, checkpoints: list[Any], artifacts: frozenset[str]
) -> Iterator[Finding]:
    """Look at what is registered of one run.

    Args:
        life: The run.
        checkpoints: Its rows with ``step``, ``attempt`` and ``state``.
        artifacts: Names of its artifacts.
    """
    run = life.row
    known = {one.number: one for one in life.tries}
    for row in checkpoints:
        if row.attempt not in known:
            what = f"checkpoint {row.step} belongs to attempt {row.attempt}, which never was"
            yield life.finding(what, RESTORE)
        elif row.step < known[row.attempt].resumed_from:
            what = f"checkpoint {row.step} is before the start of its attempt {row.attempt}"
            yield life.finding(what, RESTORE)
    if run.state == RunState.SUCCEEDED:
        if "adapter" not in artifacts:
            yield life.finding("it succeeded, but its adapter is not registered", AGAIN)
        return
    registered = {row.step for row in checkpoints if row.state == "registered"}
    if run.checkpoint_step > 0 and run.checkpoint_step not in registered:
        what = f"no checkpoint is registered at update {run.checkpoint_step}"
        yield life.finding(what, "cancel it and launch it again")
    elif registered and max(registered) != run.checkpoint_step:
        newest = max(registered)
        what = f"it continues from update {run.checkpoint_step}, but update {newest} is there"
        yield life.finding(what, REPAIR)
    if artifacts:
        yield life.finding("it has artifacts but has not succeeded", REPAIR)
