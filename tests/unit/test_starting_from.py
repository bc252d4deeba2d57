"""Runs that start from the prompt of a finished one, and those that must not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import actions
from app.submission import prepare_runs
from core.recipe import Recipe
from core.store.models_data import Artifact
from tests.desk import Desk
from tests.small_studies import finish, recipe, worker


def finished_run(desk: Desk, wanted: Recipe, adapter: bool = True) -> str:
    """Let the first run of a study succeed; return its id."""
    run_id = desk.submit(wanted)[0]
    finish(desk.store, worker(desk.store), [0.8])
    if adapter:
        with desk.store.write() as session:
            session.add(Artifact(run_id=run_id, name="adapter", path="adapter"))
    return run_id


def changed(**fields: object) -> dict[str, object]:
    """Name a method with settings other than its defaults."""
    return {"kind": "adap_ins_pos", **fields}


def test_runs_start_from_a_finished_run_of_the_same_shape(desk: Desk) -> None:
    first = finished_run(desk, recipe(("adap_ins_pos",)))
    method = {
        "kind": "adap_ins_pos",
        "learning_rates": {"prompt": 0.001},
        "temperature": {"end": 0.1},
        "selection": "sampled",
        "samples": 3,
        "entropy_bonus": 0.1,
        "init": "uniform",
    }
    wanted = recipe((method,), tasks=["clauses"], init_from="S1-1")  # type: ignore[arg-type]
    configs = prepare_runs(wanted, desk.settings, desk.store)
    assert {config.init_from for config in configs} == {first}
    run_id = desk.submit(wanted)[0]
    clone = actions.clone_recipe(desk.store, run_id, desk.settings)
    assert clone.init_from == first
    assert desk.submit(clone)


@pytest.mark.parametrize(
    ("methods", "changes", "field", "words"),
    [
        (("prompt_tuning",), {}, "methods.0", "has other tensors"),
        (("adap_pos",), {}, "methods.0", "trained position instance; adap_pos has task"),
        ((changed(num_virtual_tokens=5),), {}, "methods.0", "num_virtual_tokens 10"),
        ((changed(place="slot"),), {}, "methods.0", "trained place cut"),
        ((changed(feature="embedding_mean"),), {}, "methods.0", "trained feature hidden_mean"),
        ((changed(kind="adap_ins_pos", length="task"),), {}, "methods.0", "trained length fixed"),
        (("adap_ins_pos",), {"init_from": "S1-2"}, "init_from", "is queued"),
        (("adap_ins_pos",), {"init_from": "S7-1"}, "init_from", "no run S7-1"),
    ],
)
def test_a_run_that_cannot_be_started_from_is_refused(
    desk: Desk, methods: tuple[Any, ...], changes: dict[str, Any], field: str, words: str
) -> None:
    finished_run(desk, recipe(("adap_ins_pos",)))
    told = desk.problems(recipe(methods, **{"init_from": "S1-1", **changes}))
    assert set(told) == {field}
    assert words in told[field]


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({"slots": ["front", "end"]}, {"slots": ["end", "front"]}, "slots front, end; "),
        ({"shortest": 0}, {"shortest": 1}, "shortest 0; "),
    ],
)
def test_equal_shapes_of_another_meaning_are_no_start(
    desk: Desk, theirs: dict[str, object], ours: dict[str, object], words: str
) -> None:
    both = {"place": "slot", "length": "instance"}
    finished_run(desk, recipe((changed(**both, **theirs),)))  # type: ignore[arg-type]
    told = desk.problems(recipe((changed(**both, **ours),), init_from="S1-1"))  # type: ignore[arg-type]
    assert set(told) == {"methods.0"}
    assert words in told["methods.0"]


def test_a_cut_that_is_written_as_a_number_is_the_same_cut(desk: Desk) -> None:
    finished_run(desk, recipe(("prompt_tuning",)))
    tuning = {"kind": "prompt_tuning", "cut": 10}
    assert desk.submit(recipe((tuning,), init_from="S1-1"))  # type: ignore[arg-type]
    told = desk.problems(recipe(({**tuning, "cut": 4},), init_from="S1-1"))  # type: ignore[arg-type]
    assert "trained cut 10" in told["methods.0"]


def test_a_run_does_not_start_from_one_that_saw_what_it_reports(desk: Desk, tmp_path: Path) -> None:
    for name in ("boolq-devsplit", "BoolQ"):
        (tmp_path / name).mkdir()
        for stem in ("train", "val"):
            lines = [
                {"question": f"is {n} {stem}", "passage": f"{name} {stem} {n}", "label": n % 2 == 0}
                for n in range(40)
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (tmp_path / name / f"{stem}.jsonl").write_text(text)
    here = replace(desk, settings=desk.settings.model_copy(update={"data_dir": str(tmp_path)}))
    one: dict[str, Any] = {"methods": ("prompt_tuning",), "seeds": {"init": [0]}}
    first = recipe(**one, tasks=["boolq-devsplit"])
    finished_run(here, first)
    finished_run(here, recipe(**one, tasks=["desk"], init_from="S1-1"))
    for run in ("S1-1", "S2-1"):
        told = here.problems(recipe(**one, tasks=["desk", "boolq"], init_from=run))
        assert set(told) == {"tasks.1"}
        assert "boolq-devsplit is cut from the file that boolq reports on" in told["tasks.1"]
    assert here.submit(first.model_copy(update={"init_from": "S1-1"}))


def test_a_run_without_an_adapter_gives_nothing(desk: Desk) -> None:
    finished_run(desk, recipe(("adap_ins_pos",)), adapter=False)
    told = desk.problems(recipe(("adap_ins_pos",), init_from="S1-1"))
    assert set(told) == {"init_from"}
