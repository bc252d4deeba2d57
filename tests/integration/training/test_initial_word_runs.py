"""Runs whose prompt starts from label words: trained, continued, loaded, and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.backbones.load import Backbone
from core.data.tasks import read_task
from core.recipe import RunConfig
from core.states import Outcome
from core.training.checkpoint import load_adapter
from core.training.group import Member, WarmBackbones, prepare
from tests.tiny import tiny_vocabulary
from tests.tiny_language import make_language
from tests.training_tools import assert_same_as_alone, run_config, succeeded, train

Make = Callable[..., RunConfig]
PROMPT = {"kind": "prompt_tuning", "num_virtual_tokens": 4, "init": "label_words"}


def embedded(backbone: Backbone, *pieces: str) -> Tensor:
    ids = torch.tensor([[tiny_vocabulary()[piece] for piece in pieces]])
    return backbone.embed(ids)[0].detach()


def started(config: RunConfig, warm: WarmBackbones, folder: Path, *data: Path) -> Any:
    """The run before its first update, and its backbone."""
    holder = warm.for_run(config)
    return prepare(Member("r", config, folder / "r"), holder, data), holder.backbone


def with_words(config: RunConfig, **words: str) -> RunConfig:
    pairs = tuple(sorted(words.items()))
    return config.model_copy(update={"task": config.task.model_copy(update={"label_words": pairs})})


def test_a_head_reads_out_a_prompt_that_starts_from_the_names_of_the_labels(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure(PROMPT)
    run, backbone = started(config, warm, tmp_path)
    prompt = run.model.part().method.prompt
    torch.testing.assert_close(prompt[0], embedded(backbone, "l", "##0").mean(dim=0))
    torch.testing.assert_close(prompt[1], embedded(backbone, "l", "##1").mean(dim=0))

    ending = succeeded(train([config], tmp_path, warm))
    stored = load_file(ending.files["adapter"] / "adapter.safetensors")["method.prompt"]
    loaded = load_adapter(ending.files["adapter"], backbone).part().method
    assert torch.equal(loaded.prompt, stored)
    assert not torch.equal(stored[:2], prompt[:2])


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_verbalizer_says_the_words_that_the_prompt_starts_from(
    family: str, task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    folder = make_language(family, tmp_path / family)
    backbone = {"path": str(folder), "read_out": "verbalizer"}
    moving = {**PROMPT, "kind": "adap_ins_pos"}
    configs = [
        with_words(run_config(method, task=task, backbone=backbone), l0="bad", l1="great")
        for method in (PROMPT, moving)
    ]
    for config in configs:
        run, loaded = started(config, warm, tmp_path)
        tensors = dict(run.model.part().method.named_parameters())
        rows = tensors.get("prompt", tensors.get("pool")).flatten(end_dim=-2)
        torch.testing.assert_close(rows[:2], embedded(loaded, "bad", "great"))
    assert_same_as_alone(configs, tmp_path, warm)


def test_other_words_are_another_start_and_another_run(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    plain, worded = configure(PROMPT), with_words(configure(PROMPT), l0="bad", l1="great")
    assert plain.config_hash != worded.config_hash
    first, second = (train([one], tmp_path / name, warm) for one, name in
                     ((plain, "plain"), (worded, "worded")))  # fmt: skip
    assert first.losses != second.losses
    drawn = configure({**PROMPT, "init": "vocabulary"})
    assert first.losses != train([drawn], tmp_path / "drawn", warm).losses


def test_joint_runs_and_their_controls_start_from_the_words_of_all_tasks(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    joint = on_suite(PROMPT, "rte", "own", regime="multi_task")
    control = on_suite(PROMPT, "rte", "own", regime={"kind": "multi_task", "role": "single"})
    assert len(control.trained_tasks) == 1
    own = read_task(joint.tasks[1], [suite]).words
    expected = dict.fromkeys((*own, *read_task(joint.tasks[0], [suite]).words))
    assert len(expected) == 4
    starts = []
    for config in (joint, control):
        run, backbone = started(config, warm, tmp_path, suite)
        starts.append(run.model.part().method.prompt.detach())
        torch.testing.assert_close(starts[-1][3], embedded(backbone, "no")[0])
        torch.testing.assert_close(starts[-1][2], embedded(backbone, "yes")[0])
    assert torch.equal(*starts)


def test_a_task_that_scores_choices_has_no_words_to_start_from(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    recorder = train([on_suite(PROMPT, "copa")], tmp_path, warm, data=[suite])
    ending = recorder.endings["r0"]
    assert ending.outcome is Outcome.FAILED
    assert "copa" in ending.detail
    assert "init: vocabulary" in ending.detail
