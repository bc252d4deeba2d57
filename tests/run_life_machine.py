"""A hypothesis machine that does to the store what workers, people and accidents do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.errors import DamagedCheckpoint
from core.reporting import Checkpoint, Ending, Progress
from core.states import ENDED, Outcome, RunState, StopKind
from core.store import runs, scalars, workers
from core.store.leases import Observation
from core.store.models import Attempt, Run, RunEvent
from core.store.models_data import Checkpoint as CheckpointRow
from core.store.models_data import ScalarSummary
from tests.run_life_model import ModelRun
from tests.run_life_people import OFTEN, PICK, PeopleAndRuns
from tests.soundness import check

CHECK_EVERY = 5
ENDINGS = st.sampled_from(
    (
        Outcome.SUCCEEDED,
        Outcome.SUCCEEDED,
        Outcome.FAILED,
        Outcome.CRASHED,
        Outcome.STALLED,
        Outcome.DRAINED,
        Outcome.OUT_OF_MEMORY,
    )
)


class RunLife(PeopleAndRuns):
    """Rules that act on the store and on the model, which are compared after each."""

    # Workers

    @rule(pick=PICK, limit=st.integers(1, 3))
    def claim(self, pick: int, limit: int) -> None:
        worker = self.workers[pick % len(self.workers)]
        claimed = self.write(lambda session: runs.claim(session, worker.id, limit))
        self.counted("claim")
        ready = [r for r in self.runs.values() if r.state is RunState.QUEUED and not r.waits]
        if not worker.is_alive or not ready:
            assert claimed == []
            return
        assert 1 <= len(claimed) <= limit
        first = self.runs[claimed[0].id]
        assert first.priority == max(run.priority for run in ready)
        for got in claimed:
            run = self.runs[got.id]
            assert run in ready
            assert run.priority == first.priority
            run.claimed(worker.id, len(claimed))
            assert (got.fence, got.attempt) == (run.fence, run.attempt)
            assert got.checkpoint_step == run.checkpoint
            assert (got.checkpoint is None) == (run.checkpoint == 0)
            worker.believes[got.id] = got.fence
            self.claims.append((got.id, got.fence))

    @rule(pick=PICK, living=OFTEN)
    @precondition(lambda self: self.claims)
    def begin(self, pick: int, living: bool) -> None:
        run, fence, lives = self.claim_of(pick, living)
        assert self.write(lambda session: runs.started(session, run.id, fence)) == lives
        if lives:
            run.began()
        self.counted("begin")

    @rule(pick=PICK, more=st.integers(1, 40), living=OFTEN, unknown=st.booleans())
    @precondition(lambda self: self.claims)
    def learn(self, pick: int, more: int, living: bool, unknown: bool) -> None:
        run, fence, lives = self.claim_of(pick, living)
        points = [(run.loss + i, {"train/loss": 1.0 / i}) for i in range(1, more + 1)]

        def work(session: Session) -> bool:
            told = Progress("training", run.loss + more, 1_000, 0.1, group=run.group_size)
            return scalars.append(session, run.id, fence, points) and runs.progress(
                session, run.id, fence, told
            )

        assert self.write(work, unknown=unknown) == lives
        if lives:
            run.loss += more
        self.counted("learn" if lives else "learn with an old fence")

    @rule(pick=PICK, living=OFTEN, unknown=st.booleans())
    @precondition(lambda self: any(run.loss for run in self.runs.values()) and self.claims)
    def save(self, pick: int, living: bool, unknown: bool) -> None:
        run, fence, lives = self.claim_of(pick, living)
        if not run.loss:
            return
        folder = Path(f"runs/{run.id}/{run.attempt}-{fence}/step-{run.loss}")
        told = Checkpoint(run.loss, folder, "0" * 64, 10)

        def work(session: Session) -> bool:
            saved = runs.register_checkpoint(session, run.id, fence, told)
            runs.prune_checkpoints(session, run.id, fence)
            return saved

        assert self.write(work, unknown=unknown) == lives
        if lives:
            run.saved()
            run.pruned()
        self.counted("save" if lives else "save with an old fence")

    @rule(pick=PICK, outcome=ENDINGS, living=OFTEN, unknown=st.booleans())
    @precondition(lambda self: self.claims)
    def end(self, pick: int, outcome: Outcome, living: bool, unknown: bool) -> None:
        run, fence, lives = self.claim_of(pick, living)
        done = outcome is Outcome.SUCCEEDED
        ending = Ending(
            outcome,
            result={"updates": run.loss} if done else {},
            files={"adapter": Path("adapter")} if done else {},
        )
        self._end(run, fence, lives, ending, unknown)
        if lives:
            run.ended(outcome)
        self.counted(f"end {outcome}" if lives else "end with an old fence")

    @rule(pick=PICK, unknown=st.booleans())
    @precondition(lambda self: any(r.is_held and r.checkpoint for r in self.runs.values()))
    def damage(self, pick: int, unknown: bool) -> None:
        """The checkpoint to continue from turns out to be damaged."""
        saved = [run for run in self.runs.values() if run.is_held and run.checkpoint]
        run = saved[pick % len(saved)]
        ending = Ending(Outcome.FAILED, kind=DamagedCheckpoint.code, detail="It is damaged.")
        self._end(run, run.fence, True, ending, unknown)
        run.ended(Outcome.FAILED, damaged=True)
        self.counted("damage")

    def _end(self, run: ModelRun, fence: int, lives: bool, ending: Ending, unknown: bool) -> None:
        def work(session: Session) -> RunState | None:
            state = runs.end_attempt(session, run.id, fence, ending)
            runs.drop_checkpoints(session, run.id, fence)
            return state

        told = self.write(work, unknown=unknown)
        # Repeated after an unknown commit, the claim is gone; the comparison sees the one ending.
        assert (told is None) == (not lives or unknown)

    def trainer_dies(self, pick: int) -> None:
        """All runs of a worker end without a culprit."""
        worker = self.workers[pick % len(self.workers)]
        fences = dict(worker.believes)
        self.write(lambda session: runs.release_all(session, worker.id, fences, "trainer died"))
        for run_id, fence in fences.items():
            run = self.runs[run_id]
            if run.is_held and run.fence == fence and run.worker == worker.id:
                run.ended(Outcome.CRASHED, alone=len(fences) > 1)
        worker.believes.clear()
        self.counted("trainer dies")

    def drain(self, pick: int) -> None:
        worker = self.workers[pick % len(self.workers)]
        fences = dict(worker.believes)
        self.write(lambda session: runs.drain_all(session, worker.id, fences, "makes room"))
        for run_id, fence in fences.items():
            run = self.runs[run_id]
            if run.is_held and run.fence == fence and run.worker == worker.id:
                run.ended(Outcome.DRAINED)
        worker.believes.clear()
        self.counted("drain")

    @rule(pick=PICK, forgets=st.booleans())
    def beat(self, pick: int, forgets: bool) -> None:
        """A worker beats, also one that was paused; a claim whose answer was lost goes back."""
        worker = self.workers[pick % len(self.workers)]
        if forgets and worker.believes:
            worker.believes.pop(next(iter(worker.believes)))
        fences = dict(worker.believes)
        answers = self.write(lambda session: runs.beat(session, worker.id, fences))
        worker.is_alive = True
        worker.beats += 1
        for run_id, fence in fences.items():
            run = self.runs[run_id]
            mine = run.is_held and run.fence == fence and run.worker == worker.id
            wanted = StopKind.CANCEL if run.state is RunState.STOPPING else None
            assert answers[run_id] == (wanted if mine else "lost")
            if not mine:
                del worker.believes[run_id]
        for run in self.runs.values():
            if run.worker == worker.id and run.id not in fences:
                run.ended(Outcome.DRAINED)
        self.counted("beat")

    def sweep(self, pick: int, is_late: bool = False) -> None:
        """Somebody judges a worker: by its present counter, or by one that it has left behind."""
        worker = self.workers[pick % len(self.workers)]
        seen = Observation(worker.id, worker.beats - is_late)
        self.write(lambda session: runs.expire(session, [seen]))
        if worker.is_alive and not is_late:
            worker.is_alive = False
            for run in self.runs.values():
                if run.worker == worker.id:
                    run.expired()
        self.counted("sweep")

    def leave(self, pick: int) -> None:
        """A worker stops in order; it may beat again, as one that was only paused does."""
        worker = self.workers[pick % len(self.workers)]
        self.write(lambda session: workers.stop(session, worker.id))
        worker.is_alive = False
        for run in self.runs.values():
            if run.worker == worker.id:
                run.ended(Outcome.DRAINED)
        self.counted("leave")

    @rule(pick=PICK, living=OFTEN, is_stalled=st.booleans())
    @precondition(lambda self: self.claims)
    def remark(self, pick: int, living: bool, is_stalled: bool) -> None:
        run, fence, lives = self.claim_of(pick, living)

        def work(session: Session) -> bool:
            noted = runs.notice(session, run.id, fence, "Continued in another environment.")
            return runs.stalled(session, run.id, fence, is_stalled) and noted

        assert self.write(work) == lives
        self.counted("remark")

    @rule()
    @precondition(lambda self: any(run.waits for run in self.runs.values()))
    def time_passes(self) -> None:
        self.write(lambda session: session.execute(update(Run).values(not_before=None)))
        for run in self.runs.values():
            run.waits = False
        self.counted("time passes")

    # Several of these are one rule each, so that most steps train

    @rule(pick=PICK, kind=st.sampled_from(("cancel", "dies", "drain", "leave", "sweep", "late")))
    def accident(self, pick: int, kind: str) -> None:
        if kind == "cancel":
            self.cancel(pick) if pick % 4 else self.cancel_study(pick)
        elif kind == "dies":
            self.trainer_dies(pick)
        elif kind == "drain":
            self.drain(pick)
        elif kind == "leave":
            self.leave(pick)
        else:
            self.sweep(pick, is_late=kind == "late")

    @rule(pick=PICK, whole_study=st.booleans())
    def reorder(self, pick: int, whole_study: bool) -> None:
        if whole_study:
            self.change_priority(pick)
        else:
            self.to_front(pick)

    @rule(pick=PICK, more=st.integers(1, 40), unknown=st.booleans())
    @precondition(lambda self: self.held())
    def train(self, pick: int, more: int, unknown: bool) -> None:
        """Make steps and save, as trainers mostly do."""
        self.begin(pick, living=True)
        self.learn(pick, more, living=True, unknown=unknown)
        self.save(pick, living=True, unknown=unknown)

    @rule(pick=PICK)
    @precondition(lambda self: self.claims and not self.held())
    def work(self, pick: int) -> None:
        """Come for work when there is none in hand."""
        self.beat(pick, forgets=False)
        self.claim(pick, limit=1 + pick % 3)

    # What must hold

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        columns = (
            Run.id, Run.state, Run.version, Run.fence, Run.attempt, Run.worker_id, Run.infra_left,
            Run.oom_left, Run.checkpoint_step, Run.priority, ScalarSummary.count,
        )  # fmt: skip
        loss = (ScalarSummary.run_id == Run.id) & (ScalarSummary.name == "train/loss")
        with self.store.read() as session:
            rows = session.execute(select(*columns).outerjoin(ScalarSummary, loss)).all()
            for row in rows:
                run = self.runs[row[0]]
                assert tuple(row)[1:] == (
                    run.state, run.version, run.fence, run.attempt, run.worker, run.infra_left,
                    run.oom_left, run.checkpoint, run.priority, run.loss or None,
                )  # fmt: skip
            assert len(rows) == len(self.runs)
            if self.since_check >= CHECK_EVERY:
                self.since_check = 0
                self.everything_holds(session)

    def everything_holds(self, session: Session) -> None:
        assert check(session) == []
        kept: dict[str, list[tuple[int, int]]] = {}
        wanted = CheckpointRow.state == "registered"
        for row in session.scalars(select(CheckpointRow).where(wanted)):
            kept.setdefault(row.run_id, []).append((row.step, row.attempt))
        assert {k: sorted(v) for k, v in kept.items()} == {
            run.id: run.registered() for run in self.runs.values() if run.registered()
        }
        attempts = Counter(session.scalars(select(Attempt.run_id)))
        assert attempts == Counter({r.id: r.attempt for r in self.runs.values() if r.attempt})
        ends = Counter(
            session.scalars(select(RunEvent.run_id).where(RunEvent.after == "succeeded"))
        )
        assert set(ends.values()) <= {1}

    def teardown(self) -> None:
        if self.runs:
            with self.store.read() as session:
                self.everything_holds(session)
        for run in self.runs.values():
            assert run.endings == (run.state in ENDED)
