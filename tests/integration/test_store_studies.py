"""Studies: one for each submission, closing, the sealed test, and the tuning protocol."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import NotFound
from core.recipe import RunConfig
from core.states import Outcome, RunState
from core.store import queries, runs, studies
from core.store.session import Store
from core.store.views import StudyView
from tests.soundness import check
from tests.store_tools import claim, end, recipe, row, start, submit, succeed, worker

TUNED = recipe(
    ("prompt_tuning", "linear_probe"), seeds=(0, 1), tuning={"protocol": "tuned", "trials": 3}
)

FOLDED = recipe(
    ("prompt_tuning",), seeds=(0, 1), tuning={"protocol": "tuned", "trials": 2, "folds": 5}
)


@pytest.fixture(autouse=True)
def sound(store: Store) -> object:
    yield
    with store.read() as session:
        assert check(session) == []


def view(store: Store, study_id: str) -> StudyView:
    with store.read() as session:
        return queries.study_overview(session, study_id)


def run_all(
    store: Store, accuracies: dict[int, float] | None = None, queues: Sequence[str] = ("default",)
) -> None:
    """Train everything that is queued; trials by their ordinal get the given dev accuracy."""
    mine = worker(store, queues=queues)
    while claimed := claim(store, mine, 4):
        for run in claimed:
            ordinal = int(run.slug.partition("-")[2])
            succeed(store, run, (accuracies or {}).get(ordinal, 0.5))


def test_the_same_key_makes_one_study_even_at_the_same_moment(store: Store) -> None:
    found: list[studies.CreatedStudy] = []

    def work() -> None:
        found.append(submit(store, recipe(seeds=(0, 1)), idempotency_key="click"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert {study.run_ids for study in found} == {found[0].run_ids}
    assert [study.is_new for study in found].count(True) == 1
    assert submit(store, idempotency_key="another click").number == 2


def test_a_study_closes_with_its_last_run_and_a_retry_reopens_it(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    succeed(store, start(store, mine))
    assert view(store, study.id).row.closed_at is None
    failed = start(store, mine)
    end(store, failed, Outcome.FAILED, kind="diverged", detail="NaN")
    assert view(store, study.id).row.closed_at is not None
    with store.write() as session:
        runs.retry(session, failed.id)
    assert view(store, study.id).row.closed_at is None
    assert not view(store, study.id).row.is_test_open


def test_test_numbers_are_hidden_until_the_study_closes_or_is_opened(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1)))
    run = start(store, worker(store))
    succeed(store, run)
    with store.read() as session:
        assert not studies.is_test_open(session, study.id)
        assert "test" not in queries.run_view(session, run.id).result
        assert all("test" not in line.result for line in queries.comparison(session))
    with store.write() as session:
        assert studies.open_test(session, study.id) == 1
        assert studies.open_test(session, study.id) == 2
    with store.read() as session:
        assert queries.run_view(session, run.id).result["test"] == {"accuracy": 0.25}
        assert queries.comparison(session)[0].test_openings == 2
    assert [event.after for event in view(store, study.id).events].count("test_opened") == 2


def test_trials_come_first_and_the_winner_is_trained_with_fresh_seeds(store: Store) -> None:
    study = submit(store, TUNED)
    assert len(study.run_ids) == 6
    assert {line.role for line in view(store, study.id).runs} == {"trial"}
    run_all(store, {2: 0.9})
    after = view(store, study.id)
    finals = [line for line in after.runs if line.role == "final"]
    assert sorted((line.method_label, line.init_seed) for line in finals) == [
        ("linear_probe", 0),
        ("linear_probe", 1),
        ("prompt_tuning", 0),
        ("prompt_tuning", 1),
    ]
    best = RunConfig.model_validate_json(row(store, study.run_ids[1]).config)
    prompt = next(line for line in finals if line.method_label == "prompt_tuning")
    assert prompt.config_hash == best.config_hash
    assert after.row.closed_at is not None
    assert {state for line in after.runs for state in [line.state]} == {RunState.SUCCEEDED}


def test_finals_wait_in_the_queue_of_their_study_and_need_what_their_trials_did(
    store: Store,
) -> None:
    asked: list[str] = []

    def memory_of(config: RunConfig) -> int:
        asked.append(config.config_hash)
        return 100 * len(asked)

    study = submit(store, TUNED, queue="gpu", memory_of=memory_of)
    needs = [row(store, run_id).memory_bytes for run_id in study.run_ids]
    assert sorted(needs) == [100, 200, 300, 400, 500, 600]
    run_all(store, queues=["gpu"])
    finals = [row(store, line.id) for line in view(store, study.id).runs if line.role == "final"]
    assert {run.queue for run in finals} == {"gpu"}
    largest = {needs[index] for index in (2, 5)}
    assert {run.memory_bytes for run in finals} == largest
    assert [run.memory_bytes for run in finals] == [max(needs[:3])] * 2 + [max(needs[3:])] * 2


def test_runs_that_differ_in_seeds_alone_are_estimated_once(store: Store) -> None:
    asked: list[RunConfig] = []

    def memory_of(config: RunConfig) -> int:
        asked.append(config)
        return 7

    wanted = recipe(seeds=(0, 1, 2))
    study = submit(store, wanted, idempotency_key="key", memory_of=memory_of)
    assert [row(store, run_id).memory_bytes for run_id in study.run_ids] == [7, 7, 7]
    submit(store, wanted, idempotency_key="key", memory_of=memory_of)
    assert len(asked) == 1


def test_finals_are_created_once_and_only_when_all_trials_have_ended(store: Store) -> None:
    study = submit(store, TUNED)
    mine = worker(store)
    trials = claim(store, mine, 3)
    succeed(store, trials[0])
    succeed(store, trials[1])
    assert len(view(store, study.id).runs) == 6
    succeed(store, trials[2])
    assert len(view(store, study.id).runs) == 8
    with store.write() as session:
        studies.settle(session, {study.id})
    assert len(view(store, study.id).runs) == 8


def test_a_cell_whose_trials_all_fail_is_told_and_the_study_goes_on(store: Store) -> None:
    study = submit(store, TUNED)
    mine = worker(store)
    for run in claim(store, mine, 3):
        end(store, run, Outcome.FAILED, kind="diverged", detail="NaN")
    run_all(store)
    after = view(store, study.id)
    assert [line.role for line in after.runs].count("final") == 2
    told = [event.reason for event in after.events if event.after == "no_winner"]
    assert len(told) == 1
    assert "prompt_tuning on desk" in told[0]
    assert after.row.closed_at is not None


def test_a_cancelled_study_gets_no_finals(store: Store) -> None:
    study = submit(store, TUNED)
    run = start(store, worker(store))
    with store.write() as session:
        assert runs.cancel_study(session, study.id) == 6
    assert succeed(store, run) is RunState.CANCELLED
    after = view(store, study.id)
    assert after.row.states == {"cancelled": 6}
    assert after.row.closed_at is not None


def test_a_retry_in_a_cancelled_study_brings_only_its_own_cell_back(store: Store) -> None:
    study = submit(store, TUNED)
    mine = worker(store)
    first, second, third = claim(store, mine, 3)
    succeed(store, first)
    succeed(store, second)
    with store.write() as session:
        runs.cancel_study(session, study.id)
    end(store, third, Outcome.CANCELLED)
    with store.write() as session:
        assert runs.retry(session, third.id) is RunState.QUEUED
    assert len(view(store, study.id).runs) == 6
    succeed(store, start(store, mine))
    finals = [line for line in view(store, study.id).runs if line.role == "final"]
    assert {line.method_label for line in finals} == {"prompt_tuning"}


def succeed_folds(store: Store, found: list[tuple[float, int] | None]) -> None:
    """End the queued runs in order with a dev accuracy and a best step; None: the run fails."""
    mine = worker(store)
    for run, told in zip(claim(store, mine, len(found)), found, strict=True):
        if told is None:
            end(store, run, Outcome.FAILED, kind="diverged", detail="NaN")
            continue
        accuracy, step = told
        result = {"dev": {"accuracy": accuracy}, "test": {}, "flags": [], "best_step": step}
        files = {"adapter": Path("a/adapter")}
        end(store, run, Outcome.SUCCEEDED, result=result, files=files)


def configs(store: Store, study_id: str, role: str) -> list[RunConfig]:
    return [
        RunConfig.model_validate_json(row(store, line.id).config)
        for line in view(store, study_id).runs
        if line.role == role
    ]


def test_folds_choose_a_setting_that_is_trained_again_on_all_of_train(store: Store) -> None:
    study = submit(store, FOLDED)
    tried = configs(store, study.id, "trial")
    assert sorted(config.fold for config in tried) == sorted([0, 1, 2, 3, 4] * 2)
    steps = [10, 20, 30, 40, 52]
    succeed_folds(store, [(0.5, 90)] * 5 + [(0.6, step) for step in steps[:4]] + [(0.2, 52)])
    (told,) = [event for event in view(store, study.id).events if event.after == "winner"]
    finals = configs(store, study.id, "final")
    assert "best on the mean over 5 folds" in told.reason
    assert "for 30 updates" in told.reason
    assert {(c.selection, c.training.max_updates) for c in finals} == {("refit", 30)}
    assert {config.method for config in finals} == {config.method for config in tried[5:]}
    assert sorted(config.seeds.init for config in finals) == [0, 1]
    assert view(store, study.id).row.closed_at is None
    run_all(store)
    assert view(store, study.id).row.closed_at is not None


def test_a_setting_whose_fold_failed_is_left_out_and_told(store: Store) -> None:
    study = submit(store, FOLDED)
    succeed_folds(store, [(0.9, 10)] * 4 + [None] + [(0.3, 20)] * 5)
    (told,) = [event for event in view(store, study.id).events if event.after == "winner"]
    assert "of 2 settings (1 left out, because not all of their folds succeeded)" in told.reason
    tried = configs(store, study.id, "trial")
    finals = configs(store, study.id, "final")
    assert {config.method for config in finals} == {tried[5].method}
    assert finals[0].training.max_updates == 20


def test_a_failed_fold_that_is_tried_again_counts(store: Store) -> None:
    study = submit(store, FOLDED)
    succeed_folds(store, [(0.9, 10)] * 4 + [None] + [(0.3, 20)] * 4 + [None])
    (told,) = [event for event in view(store, study.id).events if event.after == "no_winner"]
    assert "No setting of prompt_tuning on desk" in told.reason
    with store.write() as session:
        runs.retry(session, study.run_ids[4])
    succeed_folds(store, [(0.9, 30)])
    finals = configs(store, study.id, "final")
    tried = configs(store, study.id, "trial")
    assert {config.method for config in finals} == {tried[0].method}
    assert {config.training.max_updates for config in finals} == {14}


def test_joint_runs_are_chosen_by_their_joint_mean_and_controls_by_their_own(store: Store) -> None:
    wanted = recipe(
        ("linear_probe",),
        tasks=["desk", "clauses"],
        regimes=["multi_task"],
        tuning={"protocol": "tuned", "trials": 2},
    )
    study = submit(store, wanted)
    mine = worker(store)
    lines = {line.id: line for line in view(store, study.id).runs}
    assert [line.task for line in lines.values()].count("desk+clauses") == 2
    for number, run in enumerate(claim(store, mine, 6)):
        joint = "+" in lines[run.id].task
        # The second trial of each cell is better where it counts and worse where it does not.
        good, bad = (0.6, 0.4) if number % 2 else (0.4, 0.6)
        dev = {"joint_mean": good, "accuracy": bad} if joint else {"accuracy": good}
        result = {"dev": dev, "test": {}, "flags": []}
        files = {"adapter": Path("a/adapter")}
        end(store, run, Outcome.SUCCEEDED, result=result, files=files)
    tried, finals = configs(store, study.id, "trial"), configs(store, study.id, "final")
    assert sorted(config.task_label for config in finals) == ["clauses", "desk", "desk+clauses"]
    second = {config.task_label: config.config_hash for config in tried[1::2]}
    assert {config.task_label: config.config_hash for config in finals} == second


def test_an_unknown_study_is_named(store: Store) -> None:
    with store.write() as session, pytest.raises(NotFound, match="no study S99"):
        queries.study_overview(session, "S99")
    with store.write() as session, pytest.raises(NotFound):
        studies.open_test(session, "0" * 32)
