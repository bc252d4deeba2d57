"""Short ways through the store for its tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.recipe import Recipe
from core.recipe_files import parse_recipe
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome, RunState
from core.store import queries, runs, studies, workers
from core.store.models import Attempt, Run
from core.store.session import Store


def recipe(
    methods: Sequence[object] = ("prompt_tuning",), seeds: Sequence[int] = (0,), **more: object
) -> Recipe:
    return parse_recipe(
        {
            "name": "Test",
            "tasks": ["desk"],
            "methods": list(methods),
            "seeds": {"init": list(seeds)},
            **more,
        }
    )


def submit(store: Store, wanted: Recipe | None = None, **more: object) -> studies.CreatedStudy:
    wanted = wanted or recipe()
    with store.write() as session:
        return studies.create_study(session, wanted, wanted.runs(), **more)  # type: ignore[arg-type]


def worker(
    store: Store, name: str = "w1", queues: Sequence[str] = ("default",), memory_bytes: int = 0
) -> str:
    with store.write() as session:
        return workers.register(
            session,
            name=name,
            role="train",
            host="here",
            pid=1,
            queues=queues,
            memory_bytes=memory_bytes,
        )


def claim(store: Store, worker_id: str, limit: int = 1) -> list[runs.ClaimedRun]:
    with store.write() as session:
        return runs.claim(session, worker_id, limit)


def start(store: Store, worker_id: str, *, step: int = 0, group: int = 1) -> runs.ClaimedRun:
    """Claim one run and train it up to a step."""
    run = claim(store, worker_id)[0]
    with store.write() as session:
        assert runs.started(session, run.id, run.fence)
        told = Progress("training", step, 100, 0.5, {"prompt": 10}, group)
        assert runs.progress(session, run.id, run.fence, told)
    return run


def checkpoint(step: int, *, is_best: bool = False) -> Checkpoint:
    return Checkpoint(step, Path(f"run/{step}"), "0" * 64, 10, is_best)


def end(store: Store, run: runs.ClaimedRun, outcome: Outcome, **more: object) -> RunState | None:
    with store.write() as session:
        return runs.end_attempt(session, run.id, run.fence, Ending(outcome, **more))  # type: ignore[arg-type]


def succeed(store: Store, run: runs.ClaimedRun, accuracy: float = 0.5) -> RunState | None:
    result = {"dev": {"accuracy": accuracy}, "test": {"accuracy": accuracy / 2}, "flags": []}
    return end(store, run, Outcome.SUCCEEDED, result=result, files={"adapter": Path("a/adapter")})


def make_ready(store: Store) -> None:
    """Let the back-off of all runs pass."""
    with store.write() as session:
        session.execute(update(Run).values(not_before=None))


def attempts(store: Store, run_id: str) -> list[Attempt]:
    """All attempts of a run, oldest first."""
    with store.read() as session:
        found = select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.attempt)
        return list(session.scalars(found))


def row(store: Store, run_id: str) -> Run:
    with store.read() as session:
        found = session.get(Run, run_id)
        assert found is not None
        return found


def reasons(session: Session, run_id: str) -> list[str]:
    return [event.reason for event in queries.events(session, run_ids=[run_id])]
