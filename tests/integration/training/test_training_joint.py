"""Joint training: one run on several tasks, what they share, and the control of each alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from core.training.checkpoint import load_adapter, load_checkpoint
from core.training.evaluate import Scoring, evaluate
from core.training.group import Member, WarmBackbones, prepare, train_group
from core.training.run import TrainingRun
from tests.training_tools import Recorder, assert_same_as_alone, digest, succeeded, train

Make = Callable[..., RunConfig]
TASKS = ("rte", "copa", "own")
SIZES = {"rte": 28, "copa": 42, "own": 48}


def joint(own: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"kind": "multi_task", "own": own, **fields}


def adapter(recorder: Recorder, run_id: str = "r0") -> dict[str, Tensor]:
    return load_file(succeeded(recorder, run_id).files["adapter"] / "adapter.safetensors")


@pytest.fixture
def prepared(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> Callable[..., TrainingRun]:
    """Build a run up to its first update."""

    def make(*arguments: Any, **rest: Any) -> TrainingRun:
        config = on_suite(*arguments, **rest)
        return prepare(Member("r", config, tmp_path / "r"), warm.for_run(config), [suite])

    return make


def test_a_joint_run_gives_the_results_of_each_task_and_their_mean(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("prompt_tuning", *TASKS, regime=joint(), max_updates=20)
    recorder = train([config], tmp_path, warm, data=[suite])
    result = succeeded(recorder).result
    tasks = result["tasks"]
    assert tuple(tasks) == TASKS
    assert config.task_label == "rte+copa+own"
    assert sum(found["updates"] for found in tasks.values()) == result["updates"] == 20
    for split in ("dev", "dev_last", "test"):
        first = [found[split]["accuracy"] for found in tasks.values()]
        assert result[split] == {"joint_mean": pytest.approx(np.mean(first))}
    assert {name: found["counts"]["train"] for name, found in tasks.items()} == SIZES
    assert result["counts"]["train"] == sum(SIZES.values())
    assert result["majority"]["test"] == pytest.approx(
        np.mean([found["majority"]["test"] for found in tasks.values()])
    )
    assert {tuple(found["dev"]) for found in tasks.values()} == {
        ("accuracy",),
        ("accuracy", "macro_f1"),
    }
    assert tasks["rte"]["template"] == "paper_code"
    assert set(result["flags"]) == {flag for found in tasks.values() for flag in found["flags"]}
    scalars = recorder.scalars_at["r0"][20]
    assert scalars["dev/joint_mean"] == result["dev_last"]["joint_mean"]
    for name, found in tasks.items():
        assert scalars[f"dev/{name}/accuracy"] == found["dev_last"]["accuracy"]


def test_each_updates_loss_is_also_told_under_its_task(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    told: list[dict[str, float]] = []

    class Listening(Recorder):
        def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
            super().scalars(run_id, step, values)
            if "train/loss" in values:
                told.append(dict(values))

    config = on_suite("prompt_tuning", *TASKS, regime=joint(), max_updates=15)
    result = succeeded(train([config], tmp_path, warm, Listening(), [suite])).result
    names = [name for values in told for name in values if name != "train/loss"]
    assert [sorted(set(values.values())) for values in told] == [
        [values["train/loss"]] for values in told
    ]
    for task, found in result["tasks"].items():
        assert names.count(f"train/{task}/loss") == found["updates"]
        losses = [values[f"train/{task}/loss"] for values in told if f"train/{task}/loss" in values]
        second_half = losses[len(losses) // 2 :]
        assert found["train_loss"] == pytest.approx(np.mean(second_half))


def test_the_predictions_of_a_joint_run_come_from_each_tasks_own_head(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite(
        "adap_ins_pos", *TASKS, regime=joint(("position",)), max_updates=10, audit=True
    )
    ending = succeeded(train([config], tmp_path, warm, data=[suite]))
    assert [entry["task"] for entry in ending.result["audit"]] == list(TASKS)
    holder = warm.for_run(config)
    model = load_adapter(ending.files["adapter"], holder.backbone)
    table = pq.read_table(ending.files["predictions"]).to_pylist()
    for choice in config.trained_tasks:
        split = holder.split(read_task(choice, [suite]).test, config.training.max_tokens)
        part, feature = model.part(choice.name), split.feature(holder.backbone)
        scores = evaluate(holder.backbone, [Scoring(part, split, "first", feature)])[0]
        assert scores is not None
        rows = [r for r in table if (r["task"], r["split"]) == (choice.name, "test")]
        assert [row["probabilities"] for row in rows] == scores.probabilities()
        assert [row["index"] for row in rows] == list(range(len(split)))


def test_joint_runs_and_single_ones_train_together_as_alone(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    configs = [
        on_suite("prompt_tuning", *TASKS, regime=joint(), max_updates=9),
        on_suite("adap_ins_vec_pos", "copa", "record", regime=joint(("position",)), max_updates=7),
        on_suite("prompt_tuning", "copa", max_updates=6),
        on_suite("linear_probe", *TASKS, regime=joint(), max_updates=9, seeds=(1, 1)),
        on_suite("p_tuning_v2", *TASKS, regime=joint(("vectors",)), max_updates=5),
    ]
    assert_same_as_alone(configs, tmp_path, warm, [suite])


@pytest.mark.parametrize("method", ["adap_ins_vec_pos", "fine_tuning"])
@pytest.mark.parametrize("stop_at", [1, 6])
def test_a_joint_run_that_was_stopped_continues_bit_for_bit(
    method: str, stop_at: int, on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    regime = joint(("vectors",) if method != "fine_tuning" else ())
    config = on_suite(
        method, *TASKS, regime=regime, max_updates=10, evaluations=3, weight_decay=0.01
    )
    whole = train([config], tmp_path / "whole", warm, data=[suite])
    stopping = Recorder(lambda run_id, step: StopKind.DRAIN if step >= stop_at else None)
    train([config], tmp_path / "first", warm, stopping, [suite])
    assert stopping.endings["r0"].outcome is Outcome.DRAINED
    folder = stopping.checkpoints["r0"][-1].folder
    resumed = Recorder()
    train_group([Member("r0", config, tmp_path / "second", folder)], resumed, warm, [suite])
    assert stopping.losses["r0"] | resumed.losses["r0"] == whole.losses["r0"]
    assert min(resumed.losses["r0"]) == stop_at + 1
    assert digest(resumed, "r0")["weights"] == digest(whole, "r0")["weights"]
    assert digest(resumed, "r0")["predictions"] == digest(whole, "r0")["predictions"]
    ours, theirs = succeeded(resumed).result["tasks"], succeeded(whole).result["tasks"]
    assert ours == theirs


OWN = {
    "vectors": {"pool"},
    "position": {"position.linear.weight", "position.linear.bias"},
    "representation": {"pool", "pool_selector.weight", "pool_selector.bias"},
}
ALL = {name for names in OWN.values() for name in names}


@pytest.mark.parametrize("own", [(), *((axis,) for axis in OWN), tuple(OWN)])
def test_each_task_has_its_own_axes_and_shares_everything_else(
    own: tuple[str, ...], on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("adap_ins_vec_pos", "rte", "copa", regime=joint(own), max_updates=10)
    recorder = train([config], tmp_path, warm, data=[suite])
    tensors = adapter(recorder)
    expected = {name for axis in own for name in OWN[axis]}
    shared = {f"method.{name}" for name in ALL - expected}
    heads = {"rte/head.weight", "rte/head.bias", "copa/head.weight"}
    split = {f"{task}/method.{name}" for task in ("rte", "copa") for name in expected}
    assert set(tensors) == shared | heads | split
    for name in expected:
        assert not torch.equal(tensors[f"rte/method.{name}"], tensors[f"copa/method.{name}"])
    model = load_adapter(succeeded(recorder).files["adapter"], warm.for_run(config).backbone)
    one, other = (dict(model.part(task).method.named_parameters()) for task in ("rte", "copa"))
    for name in ALL:
        assert (one[name] is other[name]) == (name not in expected)
    counted = succeeded(recorder).result["num_trainable"]
    assert sum(counted.values()) == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(
    ("method", "own", "names"),
    [
        ("prompt_tuning", ("vectors",), {"prompt"}),
        ("p_tuning_v2", ("vectors",), {"table"}),
        ("prompt_tuning", ("position",), set()),
        ("linear_probe", (), set()),
        ("fine_tuning", (), set()),
    ],
)
def test_other_methods_own_their_vectors_or_nothing(
    method: str, own: tuple[str, ...], names: set[str], prepared: Callable[..., TrainingRun]
) -> None:
    model = prepared(method, *TASKS, regime=joint(own)).model
    assert {name.rpartition("/")[2] for name in model.named_tensors() if "/method." in name} == {
        f"method.{name}" for name in names
    }
    if method == "fine_tuning":
        assert len({id(part.method.own_backbone()) for part in model.parts.values()}) == 1


def test_an_update_of_one_task_leaves_the_tensors_of_the_others_alone(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite(
        "prompt_tuning",
        *TASKS,
        regime=joint(("vectors",)),
        max_updates=12,
        weight_decay=5.0,
        evaluations=1,
    )
    start = prepare(Member("r", config, tmp_path / "fresh"), warm.for_run(config), [suite])
    before = {name: tensor.clone() for name, tensor in start.model.named_tensors().items()}
    seen: set[str] = set()
    for step in range(1, 6):
        stopping = Recorder(lambda run_id, at, step=step: StopKind.DRAIN if at >= step else None)
        train([config], tmp_path / str(step), warm, stopping, [suite])
        after = load_checkpoint(stopping.checkpoints["r0"][-1].folder).tensors
        moved = {name.split("/")[0] for name in after if not torch.equal(after[name], before[name])}
        assert len(moved) == 1
        seen |= moved
        assert all(
            not torch.equal(after[name], before[name])
            for name in after
            if name.split("/")[0] in moved
        )
        before = dict(after)
    assert len(seen) > 1


@pytest.mark.parametrize("sampling", ["proportional", "square_root", "uniform"])
def test_a_control_gets_the_updates_and_the_start_that_its_task_has_jointly(
    sampling: str, prepared: Callable[..., TrainingRun]
) -> None:
    regime = joint(sampling=sampling)
    together = prepared("adap_ins_pos", *TASKS, regime=regime, max_updates=31)
    assert sum(together.updates.values()) == together.total == 31
    for task in TASKS:
        others = [other for other in TASKS if other != task]
        control = prepared(
            "adap_ins_pos",
            task,
            *others,
            regime={**regime, "role": "single"},
            max_updates=31,
        )
        assert tuple(control.parts) == (task,)
        assert control.total == together.updates[task]
        ours = control.model.named_tensors()
        theirs = together.model.part(task).named_tensors()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_updates_without_a_number_follow_from_all_tasks_examples(
    prepared: Callable[..., TrainingRun],
) -> None:
    run = prepared(
        "linear_probe",
        *TASKS,
        regime=joint(sampling="proportional"),
        max_updates=None,
        epochs=4,
        batch_size=2,
    )
    assert run.updates == {name: 2 * size for name, size in SIZES.items()}


def test_a_control_reports_its_own_task_alone(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite("prompt_tuning", *TASKS, regime=joint(role="single"), max_updates=12)
    recorder = train([config], tmp_path, warm, data=[suite])
    result = succeeded(recorder).result
    assert "tasks" not in result
    assert result["counts"]["train"] == SIZES["rte"]
    assert result["updates"] < 12
    assert max(recorder.scalars_at["r0"]) == result["updates"]
    assert set(adapter(recorder)) == {"method.prompt", "head.weight", "head.bias"}
