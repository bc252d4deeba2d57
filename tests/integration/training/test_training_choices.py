"""Choices that are scored together: COPA's two, and ReCoRD's entities in varying number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.data.tasks import read_task
from core.recipe import RunConfig
from core.training.checkpoint import load_adapter, read_card
from core.training.evaluate import Scoring, evaluate
from core.training.features import PreparedSplit
from core.training.group import WarmBackbones
from tests.task_writers import write_copa
from tests.training_tools import assert_same_as_alone, succeeded, train

Make = Callable[..., RunConfig]


def test_choices_are_learnt_with_one_score_a_choice(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    folder = write_copa(tmp_path / "COPA", train=300, val=60)
    config = on_suite(
        {"kind": "prompt_tuning", "learning_rates": {"prompt": 0.05, "head": 0.05}},
        {"name": "copa", "folder": str(folder)},
        max_updates=200,
    )
    recorder = train([config], tmp_path, warm)
    result = succeeded(recorder).result
    assert float.fromhex(recorder.losses["r0"][1]) == pytest.approx(np.log(2), abs=0.1)
    assert result["train_loss"] < 0.3
    assert result["test"]["accuracy"] >= 0.8
    assert result["num_trainable"] == {"prompt": 320, "head": 32}
    assert result["template"] == "p_tuning_v2"


def test_runs_on_choices_and_classes_train_together_as_alone(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones, suite: Path
) -> None:
    configs = [
        on_suite("prompt_tuning", "copa", max_updates=6),
        on_suite("adap_ins_vec_pos", "record", max_updates=5),
        on_suite("prompt_tuning", "own", max_updates=6),
        on_suite("linear_probe", "record", max_updates=4),
        on_suite("p_tuning_v2", {"name": "copa", "template": "question"}, max_updates=4),
    ]
    assert_same_as_alone(configs, tmp_path, warm, [suite])


def test_every_choice_of_every_question_is_answered(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("adap_ins_pos", "record", max_updates=4)
    recorder = train([config], tmp_path, warm)
    ending = succeeded(recorder)
    data = read_task(config.task)
    table = pq.read_table(ending.files["predictions"]).to_pylist()
    for split, examples in (("dev", data.dev), ("test", data.test)):
        rows = [row for row in table if row["split"] == split]
        assert [row["id"] for row in rows] == [example.id for example in examples]
        assert {row["task"] for row in rows} == {"record"}
        for row, example in zip(rows, examples, strict=True):
            assert len(row["probabilities"]) == len(example.choices)
            assert sum(row["probabilities"]) == pytest.approx(1)
            assert row["prediction"] == int(np.argmax(row["probabilities"]))
            assert row["label"] == example.right[0]
        right = [
            row["prediction"] in example.right for row, example in zip(rows, examples, strict=True)
        ]
        assert ending.result[split]["record_em"] == pytest.approx(np.mean(right))
    assert len({len(example.choices) for example in data.test}) > 1
    choices = sum(len(example.choices) for example in data.dev)
    assert sum(recorder.histograms["r0", "cut"][4]) == choices


def test_the_order_of_the_choices_decides_nothing(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("adap_ins_vec_pos", "copa", max_updates=8)
    ending = succeeded(train([config], tmp_path, warm))
    holder = warm.for_run(config)
    model = load_adapter(ending.files["adapter"], holder.backbone).part()
    examples = read_task(config.task).test

    def shares(turned: bool) -> np.ndarray:
        shown = [
            type(example)(
                example.rows[::-1] if turned else example.rows,
                1 - example.label if turned else example.label,
                example.group,
                example.right,
                example.choices,
            )
            for example in examples
        ]
        split = PreparedSplit(holder.tokenizer.encode_all(shown, config.training.max_tokens))
        scoring = Scoring(model, split, "first", split.feature(holder.backbone))
        scores = evaluate(holder.backbone, [scoring])[0]
        assert scores is not None
        return np.asarray(scores.probabilities())

    np.testing.assert_allclose(shares(True)[:, ::-1], shares(False), atol=1e-5)


def test_an_adapter_of_choices_says_how_it_is_asked(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("prompt_tuning", {"name": "copa", "template": "question"}, max_updates=1)
    task = read_card(succeeded(train([config], tmp_path, warm)).files["adapter"]).task()
    assert (task.kind, task.num_outputs, task.spec) == ("choices", 1, "copa")
    assert task.labels == ("choice1", "choice2")
    assert task.inputs == ("premise", "question", "choice1", "choice2")
    assert task.segments == ("What was the {question} of this? {premise}", "{choice}")
