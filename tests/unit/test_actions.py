"""Submitting, cancelling, retrying and cloning, on a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

from app import actions, command
from core import queue
from core.data.tasks import resolve
from core.errors import ConfigError, NotFound, RecipeErrors
from core.recipe import Recipe, RunConfig
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.states import RunState
from core.store import queries
from core.store.models import Run
from core.store.session import Store
from tests.small_studies import finish, new_store, recipe, start, worker


@dataclass(frozen=True)
class Desk:
    """What a test works with."""

    store: Store
    settings: Settings
    rings: list[str]

    def submit(self, wanted: Recipe, key: str = "") -> tuple[str, ...]:
        study = actions.submit_recipe(
            self.store, wanted, settings=self.settings, idempotency_key=key
        )
        return study.run_ids

    def problems(self, wanted: Recipe) -> dict[str, str]:
        with pytest.raises(RecipeErrors) as caught:
            self.submit(wanted)
        return {problem.field: str(problem) for problem in caught.value.problems}

    def num_runs(self) -> int:
        with self.store.read() as session:
            return sum(queries.home(session).states.values())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    rings: list[str] = []
    monkeypatch.setattr(queue, "ring_execute", rings.append)
    settings = Settings(home=tmp_path, offline=True)
    store = new_store(settings)
    yield Desk(store, settings, rings)
    store.close()


def test_a_submitted_study_is_queued_with_complete_configs(desk: Desk) -> None:
    run_ids = desk.submit(recipe())
    assert len(run_ids) == 4
    assert desk.rings == list(run_ids)
    with desk.store.read() as session:
        views = [queries.run_view(session, run_id) for run_id in run_ids]
    configs = [RunConfig.model_validate_json(view.config) for view in views]
    assert {view.row.state for view in views} == {RunState.QUEUED}
    assert all(config.task.data_version for config in configs)
    assert all(config.method.learning_rates.head for config in configs)
    assert len({config.config_hash for config in configs}) == 2


def test_the_same_key_makes_one_study(desk: Desk) -> None:
    assert desk.submit(recipe(), key="click") == desk.submit(recipe(), key="click")
    assert desk.num_runs() == 4
    assert len(desk.rings) == 4


def test_every_problem_is_told_at_once_and_nothing_is_queued(desk: Desk, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    told = desk.problems(
        recipe(
            tasks=["desk", "cb", {"name": "mine", "folder": str(empty)}],
            backbones=["minilm", "bert-base", {"path": str(empty)}],
            regimes=[{"kind": "few_shot", "k": 9000}],
            training={"max_updates": 5, "max_tokens": 600},
        )
    )
    assert set(told) == {
        "tasks.1",
        "tasks.2",
        "regimes.0",
        "training.max_tokens",
        "backbones.1",
        "backbones.2",
    }
    assert "offline" in told["backbones.1"]
    assert "safetensors" in told["backbones.2"]
    assert desk.num_runs() == 0
    assert desk.rings == []


def test_cancel_and_retry_move_the_run_and_ring(desk: Desk) -> None:
    first, *_ = desk.submit(recipe())
    assert actions.cancel_run(desk.store, first) is RunState.CANCELLED
    assert actions.retry_run(desk.store, first) is RunState.QUEUED
    running = start(desk.store, worker(desk.store))
    assert actions.cancel_run(desk.store, running) is RunState.STOPPING
    assert desk.rings[-3:] == [first, first, running]
    with pytest.raises(NotFound):
        actions.cancel_run(desk.store, "0" * 32)


def test_a_study_is_cancelled_or_its_failed_runs_retried(desk: Desk) -> None:
    study = actions.submit_recipe(desk.store, recipe(), settings=desk.settings)
    finish(desk.store, worker(desk.store), [0.8, "no luck"])
    assert actions.retry_study(desk.store, study.id) == 1
    assert actions.cancel_study(desk.store, study.id) == 3
    with pytest.raises(NotFound):
        actions.retry_study(desk.store, "0" * 32)


def test_a_clone_has_the_same_config_and_seeds(desk: Desk) -> None:
    run_id = desk.submit(recipe(("adap_ins_vec",), seeds={"init": [5], "data": [3]}))[0]
    clone = actions.clone_recipe(desk.store, run_id)
    with desk.store.read() as session:
        original = RunConfig.model_validate_json(queries.run_view(session, run_id).config)
    again = actions.prepare_recipe(clone, desk.settings).runs()
    assert again == [original]


def test_a_study_clones_with_its_whole_recipe(desk: Desk) -> None:
    wanted = recipe(tuning={"protocol": "tuned", "trials": 2})
    study = actions.submit_recipe(desk.store, wanted, settings=desk.settings)
    clone = actions.clone_study(desk.store, study.id)
    assert clone == wanted.model_copy(update={"name": f"{wanted.name} (copy)"})


def test_a_cloned_study_takes_the_data_as_they_are_now(desk: Desk) -> None:
    written = recipe(
        tasks=[{"name": "desk", "data_version": resolve(TaskChoice(name="desk")).data_version}]
    )
    study = actions.submit_recipe(desk.store, written, settings=desk.settings)
    (task,) = actions.clone_study(desk.store, study.id).tasks
    assert task == TaskChoice(name="desk")


def test_the_command_line_submits_the_recipe_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Recipe] = []

    def train(wanted: Recipe, *_: object) -> int:
        submitted.append(wanted)
        return 0

    monkeypatch.setattr(command, "train", train)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe().to_yaml())
    assert command.main([str(file)]) == 0
    assert submitted == [recipe()]


def test_a_config_of_another_version_is_named_and_not_cloned(desk: Desk) -> None:
    run_id = desk.submit(recipe())[0]
    with desk.store.write() as session:
        session.execute(update(Run).where(Run.id == run_id).values(config='{"schema_version": 9}'))
    with pytest.raises(ConfigError, match="S1-1 cannot be read by this version"):
        actions.clone_recipe(desk.store, run_id)


def test_opening_the_test_counts(desk: Desk) -> None:
    study = actions.submit_recipe(desk.store, recipe(), settings=desk.settings)
    assert actions.open_test(desk.store, study.id) == 1
    assert actions.open_test(desk.store, study.id) == 2


def test_the_demo_is_queued_once_and_behind_users(desk: Desk) -> None:
    study = actions.seed_demo_study(desk.store)
    assert study is not None
    assert actions.seed_demo_study(desk.store) is None
    user = desk.submit(recipe())
    with desk.store.read() as session:
        view = queries.home(session)
    assert view.demo is not None
    assert view.demo.id == study.id
    assert view.waiting[0].id == user[0]
