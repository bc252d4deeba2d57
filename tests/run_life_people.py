"""The first half of the machine of ``run_life_machine``: what people do to runs."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import fault_points
from core.errors import StoreError
from core.states import ENDED, RunState
from core.store import endings, migrate, runs, studies, workers
from core.store.session import Store
from tests.run_life_model import ModelRun, ModelWorker
from tests.store_tools import recipe

MOST_RUNS = 8
PICK = st.integers(0, 1_000)
OFTEN = st.sampled_from((True, True, True, False))
RECIPES = [recipe(seeds=range(count)) for count in (1, 2, 3)]
CONFIGS = [one.runs() for one in RECIPES]
Answer = TypeVar("Answer")


def lose_the_answer(point: str) -> None:
    """Fail as a connection does that is lost after the commit."""
    if point == "store.committed":
        raise OperationalError("COMMIT", {}, Exception("server closed the connection"))


class PeopleAndRuns(RuleBasedStateMachine):
    """What people do to runs, and how rules reach store and model."""

    store: ClassVar[Store]
    steps: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, ModelRun] = {}
        self.keys: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.workers: list[ModelWorker] = []
        self.claims: list[tuple[str, int]] = []
        self.since_check = 0
        self.empty()
        self.register()
        self.launch("a", 2, 0, unknown=False)

    # How rules act

    def write(self, work: Callable[[Session], Answer], *, unknown: bool = False) -> Answer:
        """Do work in a transaction; ``unknown``: the answer is lost, so do it again."""
        if unknown:
            fault_points.install(lose_the_answer)
            try:
                self._once(work)
            except StoreError:
                self.steps["answers lost"] += 1
            finally:
                fault_points.install(None)
        return self._once(work)

    def _once(self, work: Callable[[Session], Answer]) -> Answer:
        with self.store.write() as session:
            return work(session)

    def claim_of(self, pick: int, living: bool) -> tuple[ModelRun, int, bool]:
        """Choose a claim, a living one if there is one and it is wanted; True when it lives."""
        alive = [(r.id, r.fence) for r in self.runs.values() if r.is_held]
        some = alive if living and alive else self.claims
        run_id, fence = some[pick % len(some)]
        run = self.runs[run_id]
        return run, fence, run.is_held and run.fence == fence

    def held(self) -> bool:
        return any(run.is_held for run in self.runs.values())

    def some_run(self, pick: int) -> ModelRun:
        return list(self.runs.values())[pick % len(self.runs)]

    def counted(self, name: str) -> None:
        self.steps[name] += 1
        self.steps["steps"] += 1
        self.since_check += 1

    # People

    def empty(self) -> None:
        def work(session: Session) -> None:
            for table in reversed(migrate.METADATA.sorted_tables):
                session.execute(delete(table))

        self.write(work)

    @rule()
    @precondition(lambda self: len(self.workers) < 3)
    def register(self) -> None:
        name = f"w{len(self.workers)}"

        def work(session: Session) -> str:
            return workers.register(session, name=name, role="train", host="here", pid=1)

        self.workers.append(ModelWorker(self.write(work)))
        self.counted("register")

    @rule(
        key=st.sampled_from(("a", "b", "c", "")),
        size=st.integers(0, 2),
        priority=st.sampled_from((0, -10)),
        unknown=st.booleans(),
    )
    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    def launch(self, key: str, size: int, priority: int, unknown: bool) -> None:
        key = key or uuid.uuid4().hex

        def work(session: Session) -> studies.CreatedStudy:
            return studies.create_study(
                session, RECIPES[size], CONFIGS[size], idempotency_key=key, priority=priority
            )

        made = self.write(work, unknown=unknown)
        self.counted("launch")
        if key in self.keys:
            assert (made.id, made.run_ids) == self.keys[key]
            assert not made.is_new
            return
        assert made.is_new or unknown
        self.keys[key] = (made.id, made.run_ids)
        for run_id in made.run_ids:
            self.runs[run_id] = ModelRun(run_id, made.id, priority)

    def cancel(self, pick: int) -> None:
        run = self.some_run(pick)
        told = self.write(lambda session: endings.request_cancel(session, run.id))
        run.cancelled()
        assert told is run.state
        self.counted("cancel")

    def cancel_study(self, pick: int) -> None:
        study = self.some_run(pick).study
        self.write(lambda session: endings.cancel_study(session, study))
        for run in self.runs.values():
            if run.study == study:
                run.cancelled()
        self.counted("cancel study")

    @rule(pick=PICK)
    @precondition(lambda self: any(run.state in ENDED for run in self.runs.values()))
    def retry(self, pick: int) -> None:
        ended = [run for run in self.runs.values() if run.state in ENDED]
        run = ended[pick % len(ended)] if pick % 5 else self.some_run(pick)
        told = self.write(lambda session: endings.retry(session, run.id))
        run.retried()
        assert told is run.state
        self.counted("retry")

    def change_priority(self, pick: int) -> None:
        priority = (-5, 3, 7)[pick % 3]
        study = self.some_run(pick).study
        self.write(lambda session: studies.set_priority(session, study, priority))
        for run in self.runs.values():
            if run.study == study and run.state is RunState.QUEUED:
                run.priority = priority
        self.counted("priority")

    def to_front(self, pick: int) -> None:
        run = self.some_run(pick)
        is_queued = run.state is RunState.QUEUED
        assert self.write(lambda session: runs.to_front(session, run.id)) == is_queued
        if is_queued:
            others = [
                r.priority
                for r in self.runs.values()
                if r.state is RunState.QUEUED and r is not run
            ]
            run.priority = max(run.priority, 1 + max([0, *others]))
        self.counted("to front")
