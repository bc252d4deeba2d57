"""People who use the studio meanwhile: they launch, change their minds, and try again."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from core.errors import StoreError
from core.queue import EXECUTE, Bell, make_app, queue_options
from core.recipe import Recipe
from core.states import ENDED, RunState
from core.store import endings, studies
from core.store.models import Run
from core.store.session import Store
from tests.chaos.figures import LONG, MIDDLE, SHORT
from tests.soundness import check

TRIED_AGAIN = ("crash_loop", "lost", "stalled", "oom_host", "out_of_memory")
"""Kinds of failure that a person answers with a retry: bad luck more often than the budget."""
TURN_SECONDS = 0.15
CHECK_SECONDS = 3.0


@dataclass(frozen=True)
class Habits:
    """What people do.

    Attributes:
        backlog: Runs that have not ended are kept at this number or a little more.
        steps: Lengths of runs to choose from.
        cancels: Chance of a cancel in a turn.
        retries: Chance in a turn that a cancelled run is wanted after all.
    """

    backlog: int = 8
    steps: tuple[int, ...] = (SHORT, MIDDLE, LONG)
    cancels: float = 0.03
    retries: float = 0.05


class People(threading.Thread):
    """Acts on the database and rings as the web page does; repeats what was refused.

    Attributes:
        unwanted: Runs that were cancelled and not wanted again.
        states: State of each run when it was last looked at.
        seen: What checks found while runs were under way.
    """

    def __init__(self, url: str, broker_url: str, seed: int, habits: Habits) -> None:
        super().__init__(name="people", daemon=True)
        self.run_ids: list[str] = []
        self.unwanted: set[str] = set()
        self.seen: list[str] = []
        self.counts = dict.fromkeys(
            ("cancels", "retries", "retries after bad luck", "refused", "checks"), 0
        )
        self.is_launching = True
        self.states: dict[str, str] = {}
        self.trouble: BaseException | None = None
        self._store = Store(url)
        self._bell = Bell(make_app(lambda: queue_options(broker_url)))
        self._dice = random.Random(seed)
        self._habits = habits
        self._over = threading.Event()
        self._check_at = 0.0
        self._to_try_again: list[str] = []

    def run(self) -> None:
        try:
            while not self._over.wait(TURN_SECONDS):
                self._turn()
                if time.monotonic() >= self._check_at:
                    self._check_at = time.monotonic() + CHECK_SECONDS
                    self._try(self._check)
        except BaseException as error:
            self.trouble = error
            raise

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        self._store.close()

    @property
    def all_ended(self) -> bool:
        states = self.states
        return (
            bool(self.run_ids)
            and all(states.get(run_id, "queued") in ENDED for run_id in self.run_ids)
            and not self._to_try_again
        )

    def _turn(self) -> None:
        rows = self._try(self._read)
        if rows is None:
            return
        self.states = {run_id: state for run_id, state, _ in rows}
        self._to_try_again = [
            run_id
            for run_id, state, kind in rows
            if state == RunState.FAILED and kind in TRIED_AGAIN
        ]
        for run_id in self._to_try_again:
            self._retry(run_id, "retries after bad luck")
        if self.is_launching:
            self._change_minds()
            waiting = sum(state not in ENDED for state in self.states.values())
            if waiting < self._habits.backlog:
                self._launch()

    def _change_minds(self) -> None:
        open_runs = [run_id for run_id, state in self.states.items() if state not in ENDED]
        if open_runs and self._dice.random() < self._habits.cancels:
            run_id = self._dice.choice(open_runs)
            self.unwanted.add(run_id)
            self._write(lambda session: endings.request_cancel(session, run_id))
            self._bell.ring(EXECUTE, run_id)
            self.counts["cancels"] += 1
        cancelled = [run for run, state in self.states.items() if state == RunState.CANCELLED]
        if cancelled and self._dice.random() < self._habits.retries:
            self._retry(self._dice.choice(cancelled), "retries")

    def _retry(self, run_id: str, word: str) -> None:
        self._write(lambda session: endings.retry(session, run_id))
        if word == "retries":
            self.unwanted.discard(run_id)
        self._bell.ring(EXECUTE, run_id)
        self.counts[word] += 1

    def _launch(self) -> None:
        recipe = Recipe.model_validate(
            {
                "name": "under faults",
                "tasks": ["desk"],
                "methods": ["prompt_tuning"],
                "seeds": {"init": list(range(self._dice.randint(1, 4)))},
                "training": {"max_updates": self._dice.choice(self._habits.steps)},
            }
        )
        key = uuid.uuid4().hex
        study = self._write(
            lambda session: studies.create_study(
                session, recipe, recipe.runs(), idempotency_key=key
            )
        )
        if study is not None:
            self.run_ids.extend(study.run_ids)
            for run_id in study.run_ids:
                self._bell.ring(EXECUTE, run_id)

    def _check(self) -> bool:
        """The invariants hold at any moment, not only at the end."""
        with self._store.snapshot() as session:
            found = check(session)
        self.seen += [f"check while it ran: {sentence}" for sentence in found]
        self.counts["checks"] += 1
        return True

    def _read(self) -> list[tuple[str, str, str]]:
        with self._store.read() as session:
            rows = session.execute(select(Run.id, Run.state, Run.exit_kind))
            return [(row.id, row.state, row.exit_kind) for row in rows]

    def _write(self, change: Callable[[Any], Any]) -> Any:
        """Change something, again and again until the database says that it is done."""

        def once() -> Any:
            with self._store.write() as session:
                return change(session)

        while not self._over.is_set():
            done = self._try(once)
            if done is not None:
                return done
            self._over.wait(TURN_SECONDS)
        return None

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except StoreError:
            self.counts["refused"] += 1
            return None
