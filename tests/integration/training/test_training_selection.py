"""What is selected on, what is scored once at the end, and what a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.data.tasks import read_task
from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.training.group import Member, WarmBackbones, prepare, train_group
from core.training.run import TrainingRun
from tests.training_tools import Recorder, succeeded, train

Make = Callable[..., RunConfig]
DIAGNOSED = {"name": "rte", "diagnostics": True}


def test_a_refit_trains_on_all_of_train_and_keeps_the_last_checkpoint(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("prompt_tuning", "copa", selection="refit", max_updates=9, patience=1)
    recorder = train([config], tmp_path, warm)
    result = succeeded(recorder).result
    assert result["dev"] == result["dev_last"] == {}
    assert result["best_step"] == result["updates"] == 9
    assert result["counts"] == {"train": 60, "dev": 0, "test": 24}
    assert set(result["majority"]) == {"test"}
    assert set(result["flags"]) <= {"unfitted"}
    assert "r0" not in recorder.scalars_at
    assert "evaluating" not in recorder.phases["r0"]
    table = pq.read_table(succeeded(recorder).files["predictions"])
    assert set(table["split"].to_pylist()) == {"test"}


def test_a_refit_that_was_stopped_continues_to_the_same_weights(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("prompt_tuning", "copa", selection="refit", max_updates=6)
    whole = train([config], tmp_path / "whole", warm)
    stopping = Recorder(lambda run_id, step: StopKind.DRAIN if step >= 6 else None)
    train([config], tmp_path / "first", warm, stopping)
    resumed = Recorder()
    folder = stopping.checkpoints["r0"][-1].folder
    train_group([Member("r0", config, tmp_path / "second", folder)], resumed, warm)
    assert weights(resumed) == weights(whole)


def weights(recorder: Recorder) -> bytes:
    return (succeeded(recorder).files["adapter"] / "adapter.safetensors").read_bytes()


def test_a_joint_refit_has_no_dev_either(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite(
        "prompt_tuning", "copa", "rte", regime="multi_task", selection="refit", max_updates=5
    )
    result = succeeded(train([config], tmp_path, warm, data=[suite])).result
    assert result["dev"] == result["dev_last"] == {}
    assert result["test"].keys() == {"joint_mean"}
    assert result["counts"]["dev"] == 0


def test_the_folds_of_train_are_dev_in_turn_and_score_no_extra_set(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    seen: list[str] = []
    for fold in range(5):
        config = on_suite("linear_probe", DIAGNOSED, selection="fold", fold=fold, max_updates=4)
        ending = succeeded(train([config], tmp_path / str(fold), warm, data=[suite]))
        counts = ending.result["counts"]
        assert counts["train"] + counts["dev"] == 40
        assert "extra" not in ending.result
        table = pq.read_table(ending.files["predictions"]).to_pylist()
        assert {row["split"] for row in table} == {"dev", "test"}
        seen += [row["id"] for row in table if row["split"] == "dev"]
    assert sorted(seen) == sorted({str(index) for index in range(40)})


def test_a_small_dev_drawn_with_train_is_what_is_selected_on(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    regime = {"kind": "few_shot", "k": 4, "dev": "same_size"}
    config = on_suite("prompt_tuning", "own", regime=regime)
    recorder = train([config], tmp_path, warm)
    ending = succeeded(recorder)
    assert ending.result["counts"] == {"train": 8, "dev": 8, "test": 27}
    assert ending.result["majority"]["dev"] == 0.5
    assert recorder.scalars_at["r0"][12]["dev/accuracy"] == ending.result["dev_last"]["accuracy"]


def test_extra_sets_are_scored_once_at_the_end_and_charged(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    plain, diagnosed = on_suite("prompt_tuning", "rte"), on_suite("prompt_tuning", DIAGNOSED)
    recorder = train([plain, diagnosed], tmp_path, warm, data=[suite])
    without, ending = succeeded(recorder, "r0"), succeeded(recorder, "r1")
    assert "extra" not in without.result
    assert set(ending.result["extra"]) == {"ax-b", "ax-g"}
    assert set(ending.result["extra"]["ax-b"]) == {"matthews", "accuracy"}
    assert set(ending.result["extra"]["ax-g"]) == {"gender_parity", "accuracy"}
    cost = "forward_equivalents"
    assert ending.result[cost] - without.result[cost] == 12 + 8
    assert ending.result["counts"] | {"ax-b": 12, "ax-g": 8} == ending.result["counts"]
    table = pq.read_table(ending.files["predictions"]).to_pylist()
    data = read_task(diagnosed.task, [suite])
    for name, extra in data.extra.items():
        rows = [row for row in table if row["split"] == name]
        assert [row["label"] for row in rows] == [example.label for example in extra.examples]
        assert [row["id"] for row in rows] == [example.id for example in extra.examples]
        if name != "leaderboard":
            right = np.mean([row["label"] == row["prediction"] for row in rows])
            assert ending.result["extra"][name]["accuracy"] == pytest.approx(right)
    hidden = [row for row in table if row["split"] == "leaderboard"]
    assert [row["label"] for row in hidden] == [-1] * 6
    assert {len(row["probabilities"]) for row in hidden} == {2}
    # What is scored at the end plays no part in training.
    numbers = ("best_step", "dev", "test", "train_loss")
    assert [ending.result[n] for n in numbers] == [without.result[n] for n in numbers]


def test_a_resumed_run_is_not_charged_twice_for_its_caches(on_suite: Make, tmp_path: Path) -> None:
    config = on_suite("adap_ins_pos", "copa", max_updates=6)

    def fresh() -> WarmBackbones:
        return WarmBackbones(offline=True, threads=1)

    whole = train([config], tmp_path / "whole", fresh())
    stopping = Recorder(lambda run_id, step: StopKind.DRAIN if step >= 4 else None)
    train([config], tmp_path / "first", fresh(), stopping)
    resumed = Recorder()
    folder = stopping.checkpoints["r0"][-1].folder
    train_group([Member("r0", config, tmp_path / "second", folder)], resumed, fresh())
    cost = "forward_equivalents"
    assert succeeded(resumed).result[cost] == succeeded(whole).result[cost]


@pytest.fixture
def prepared(suite: Path, tmp_path: Path, warm: WarmBackbones) -> Callable[..., TrainingRun]:
    """Build a run up to its first update."""

    def make(config: RunConfig, **rest: Any) -> TrainingRun:
        member = Member("r", config, tmp_path / "prepared", **rest)
        return prepare(member, warm.for_run(config), [suite])

    return make


def tensors_of(run: TrainingRun) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in run.model.named_tensors().items()}


def test_a_run_starts_from_the_method_of_another_with_a_head_of_its_own(
    on_suite: Make,
    suite: Path,
    tmp_path: Path,
    warm: WarmBackbones,
    prepared: Callable[..., TrainingRun],
) -> None:
    first = on_suite("adap_ins_vec_pos", "rte")
    source = succeeded(train([first], tmp_path, warm, data=[suite])).files["adapter"]
    given = load_file(source / "adapter.safetensors")
    config = on_suite("adap_ins_vec_pos", "copa", seeds=(1, 1))
    fresh = tensors_of(prepared(config))
    run = prepared(config, init_from=source)
    started = tensors_of(run)
    for name, tensor in started.items():
        same = given if name.startswith("method.") else fresh
        assert torch.equal(tensor, same[name])
        if name.startswith("method."):
            assert not torch.equal(tensor, fresh[name])
    recorder = Recorder(lambda run_id, step: StopKind.DRAIN if step >= 2 else None)
    member = Member("r0", config, tmp_path / "a", init_from=source)
    train_group([member], recorder, warm)
    checkpoint = recorder.checkpoints["r0"][-1].folder
    resumed = tensors_of(prepared(config, init_from=source, resume_from=checkpoint))
    kept = load_file(checkpoint / "adapter.safetensors")
    assert all(torch.equal(resumed[name], kept[name]) for name in kept)


def test_what_a_joint_run_had_for_a_task_is_what_that_task_starts_from(
    on_suite: Make,
    suite: Path,
    tmp_path: Path,
    warm: WarmBackbones,
    prepared: Callable[..., TrainingRun],
) -> None:
    regime = {"kind": "multi_task", "own": ["vectors"]}
    together = on_suite("adap_ins_pos", "rte", "copa", regime=regime)
    source = succeeded(train([together], tmp_path, warm, data=[suite])).files["adapter"]
    given = load_file(source / "adapter.safetensors")
    for task, taken in (("copa", "copa"), ("rte", "rte"), ("own", "rte")):
        started = tensors_of(prepared(on_suite("adap_ins_pos", task), init_from=source))
        assert torch.equal(started["method.pool"], given[f"{taken}/method.pool"])
        assert torch.equal(
            started["method.position.linear.weight"], given["method.position.linear.weight"]
        )
    again = on_suite("adap_ins_pos", "own", "copa", regime=regime)
    started = tensors_of(prepared(again, init_from=source))
    assert torch.equal(started["own/method.pool"], given["rte/method.pool"])
    assert torch.equal(started["copa/method.pool"], given["copa/method.pool"])
    shared = on_suite("adap_ins_pos", "copa", "rte", regime="multi_task")
    started = tensors_of(prepared(shared, init_from=source))
    assert torch.equal(started["method.pool"], given["copa/method.pool"])


def test_a_start_that_does_not_fit_or_is_damaged_is_refused(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    first = on_suite("prompt_tuning", "copa", max_updates=1)
    source = succeeded(train([first], tmp_path, warm)).files["adapter"]
    other = on_suite({"kind": "prompt_tuning", "num_virtual_tokens": 4}, "copa")
    recorder = Recorder()
    train_group([Member("r0", other, tmp_path / "a", init_from=source)], recorder, warm)
    ending = recorder.endings["r0"]
    assert (ending.outcome, ending.kind) == (Outcome.FAILED, "bad_start")
    assert "no tensor 'method.prompt' of shape (4, 32)" in ending.detail
    (source / "adapter.safetensors").unlink()
    recorder = Recorder()
    train_group([Member("r0", first, tmp_path / "b", init_from=source)], recorder, warm)
    assert recorder.endings["r0"].kind == "bad_start"
    assert "cannot be read" in recorder.endings["r0"].detail
