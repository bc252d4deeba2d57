"""Submitting, cancelling, retrying and cloning, on a SQLite file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app import actions, command
from app.submission import prepare_runs, recipe_problems
from core.data.tasks import resolve
from core.errors import ConfigError, NotFound
from core.recipe import Recipe, RunConfig
from core.recipe_parts import TaskChoice
from core.states import RunState
from core.store import queries
from core.store.models import Run
from tests.desk import Desk, write_task
from tests.small_studies import finish, recipe, start, worker
from tests.tiny import make_tiny_roberta
from tests.tiny_families import BARE, SIZES, make_random, make_small


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


def test_a_draw_is_tried_for_every_seed_and_for_the_trials(desk: Desk, tmp_path: Path) -> None:
    # Four groups of each label: three drawn in all hold one label only for some of the seeds.
    folder = write_task(tmp_path / "own", labels=["a", "b"], each=8)
    task = {"name": "own", "folder": str(folder)}
    regime = {"kind": "few_shot", "count": "in_all", "k": 2}
    told = desk.problems(
        recipe(tasks=[task], regimes=[regime], seeds={"data": list(range(30)), "init": [0]})
    )
    assert set(told) == {"regimes.0"}
    assert "task 'own'" in told["regimes.0"]


def test_folds_are_refused_where_dev_is_large_enough(desk: Desk, tmp_path: Path) -> None:
    large = write_task(tmp_path / "large", labels=["a", "b"], each=500)
    small = write_task(tmp_path / "small", labels=["a", "b"], each=30)
    folds = {"protocol": "tuned", "trials": 2, "folds": 5}
    both = [{"name": path.name, "folder": str(path)} for path in (small, large)]
    told = desk.problems(recipe(tasks=both, tuning=folds))
    assert set(told) == {"tuning.folds"}
    assert "'large'" in told["tuning.folds"]
    assert "1,000" in told["tuning.folds"]
    assert len(desk.submit(recipe(tasks=both[:1], tuning=folds))) == 2 * 2 * 5


def test_folds_too_small_for_the_regime_are_refused(desk: Desk, tmp_path: Path) -> None:
    task = {"name": "own", "folder": str(write_task(tmp_path / "own", labels=["a", "b"], each=20))}
    wanted = recipe(
        tasks=[task],
        regimes=[{"kind": "few_shot", "k": 18}],
        tuning={"protocol": "tuned", "trials": 2, "folds": 5},
    )
    assert set(desk.problems(wanted)) == {"tuning.folds"}


def test_a_joint_run_holds_all_its_tasks_with_folder_and_version(desk: Desk) -> None:
    wanted = recipe(tasks=["desk", "clauses"], regimes=["multi_task"], seeds={"init": [0]})
    joint, *controls = prepare_runs(wanted, desk.settings)[::2]
    assert joint.task_label == "desk+clauses"
    assert [control.task_label for control in controls] == ["desk", "clauses"]
    for config in (joint, *controls):
        assert {task.name for task in config.tasks} == {"desk", "clauses"}
        assert all(task.data_version for task in config.tasks)
    assert desk.submit(wanted)


def test_missing_diagnostics_and_diagnostic_sets_are_told(desk: Desk, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "RTE", labels=["entailment", "not_entailment"], each=30)
    settings = desk.settings.model_copy(update={"data_dir": str(tmp_path)})
    lacking = replace(desk, settings=settings)
    assert folder.is_dir()
    told = lacking.problems(recipe(tasks=[{"name": "rte", "diagnostics": True}, "ax-b"]))
    assert set(told) == {"tasks.0", "tasks.1"}
    assert "AX-b.jsonl" in told["tasks.0"]
    assert "diagnostics: true" in told["tasks.1"]
    assert len(lacking.submit(recipe(tasks=["rte"]))) == 4


def test_the_border_of_two_texts_is_refused_where_it_cannot_be_seen(
    desk: Desk, tmp_path: Path
) -> None:
    folder = str(make_tiny_roberta(tmp_path / "tiny"))
    slots = {"kind": "adap_ins_pos", "place": "slot"}
    wanted: dict[str, Any] = {"backbones": [{"path": folder}]}
    told = desk.problems(recipe(("prompt_tuning", slots), **wanted))  # type: ignore[arg-type]
    assert set(told) == {"methods.1.slots"}
    assert "Leave border out" in told["methods.1.slots"]
    without = {"kind": "adap_ins_pos", "place": "slot", "slots": ["front", "end"]}
    fixed = {"kind": "adap_ins_pos", "position": "fixed", "place": "slot", "slot": "end"}
    assert desk.submit(recipe((without, fixed), **wanted))  # type: ignore[arg-type]


def test_a_method_that_a_backbone_has_nothing_for_is_refused(desk: Desk, tmp_path: Path) -> None:
    without = str(make_small("t5", tmp_path / "t5"))
    mixed = str(make_random("GPTNeoXForCausalLM", BARE, SIZES, tmp_path / "neox"))
    for folder, kind, reason in ((without, "bitfit", "no bias"), (mixed, "lora", "query_key_val")):
        wanted = recipe(("prompt_tuning", kind), backbones=[{"path": folder}])
        told = desk.problems(wanted)
        assert set(told) == {"methods.1.kind"}
        assert reason in told["methods.1.kind"]
        assert "Choose" in told["methods.1.kind"]
        (shown,) = recipe_problems(wanted, desk.settings, desk.store)
        assert str(shown) == told["methods.1.kind"], "while the form is filled"
        assert desk.submit(recipe(("prompt_tuning",), backbones=[{"path": folder}]))


def test_a_folder_of_an_unknown_family_is_told_while_the_form_is_filled(
    desk: Desk, tmp_path: Path
) -> None:
    folder = make_tiny_roberta(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "foo"}))
    wanted = recipe(backbones=[{"path": str(folder)}])
    (problem,) = recipe_problems(wanted, desk.settings, desk.store)
    assert problem.field == "backbones.0"
    assert "'foo', which the installed version of transformers does not know" in str(problem)
    assert desk.problems(wanted) == {"backbones.0": str(problem)}


def test_a_clone_finds_its_task_by_name_again(desk: Desk, tmp_path: Path) -> None:
    write_task(tmp_path / "RTE", labels=["entailment", "not_entailment"], each=30)
    settings = desk.settings.model_copy(update={"data_dir": str(tmp_path)})
    official = replace(desk, settings=settings)
    run_id = official.submit(recipe(tasks=["rte"]))[0]
    (task,) = actions.clone_recipe(desk.store, run_id, settings).tasks
    assert task == TaskChoice(name="rte")
    (away,) = actions.clone_recipe(desk.store, run_id, desk.settings).tasks
    assert away.folder == str((tmp_path / "RTE").resolve())


def test_a_joint_run_clones_into_the_same_run(desk: Desk) -> None:
    wanted = recipe(
        ("prompt_tuning",),
        tasks=["desk", "clauses"],
        regimes=[{"kind": "multi_task", "own": ["vectors"]}],
    )
    joint, *rest = desk.submit(wanted)
    with desk.store.read() as session:
        original = RunConfig.model_validate_json(queries.run_view(session, joint).config)
        control = RunConfig.model_validate_json(queries.run_view(session, rest[-1]).config)
    clone = actions.clone_recipe(desk.store, joint, desk.settings)
    assert prepare_runs(clone, desk.settings) == [original]
    again = actions.clone_recipe(desk.store, rest[-1], desk.settings)
    assert control in prepare_runs(again, desk.settings)


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
    again = prepare_runs(clone, desk.settings)
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
