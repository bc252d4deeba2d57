"""What a run's page says of it beside its method."""

from __future__ import annotations

from app.run_words import about
from core.recipe import RunConfig
from tests.small_studies import recipe


def words(run: RunConfig) -> str:
    return " | ".join(about(run))


def test_a_template_is_always_named() -> None:
    (run,) = recipe(("prompt_tuning",), tasks=["wic"], seeds={"init": [0]}).runs()
    assert words(run) == "template paper_code"
    chosen = recipe(tasks=[{"name": "wic", "template": "marked"}]).runs()[0]
    assert words(chosen) == "template marked"
    own = recipe(tasks=[{"name": "reviews", "dataset": "0123456789abcdef"}]).runs()[0]
    assert words(own) == "template plain | version 0123456789abcdef of data set reviews"


def test_joint_runs_and_their_controls_say_what_they_are() -> None:
    regime = {"kind": "multi_task", "own": ["vectors", "position"]}
    wanted = recipe(("adap_ins_pos",), tasks=["cb", "rte"], regimes=[regime], seeds={"init": [0]})
    joint, cb, rte = map(words, wanted.runs())
    assert joint.startswith("one run on cb and rte, a batch of one task an update | own per task: ")
    assert "own per task: vectors, position and the head" in joint
    assert "templates cb: paper_code, rte: paper_code" in joint
    assert "rte alone with its updates there" in rte
    assert "cb alone" in cb


def test_folds_refits_and_diagnostics_are_named() -> None:
    (run, *_) = recipe(tasks=[{"name": "rte", "diagnostics": True}]).runs()
    assert "also scored on ax-b and ax-g" in words(run)
    fold = run.model_copy(update={"selection": "fold", "fold": 2})
    assert "fold 3 of 5" in words(fold)
    assert "all of train" in words(run.model_copy(update={"selection": "refit"}))
