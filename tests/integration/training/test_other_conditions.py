"""Continuing where something is not as it was: said, refused, or given up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.recipe import RunConfig
from core.reporting import Checkpoint
from core.states import Outcome
from core.training import environment
from core.training.group import Member, WarmBackbones, train_group
from tests.tiny import make_tiny_bert
from tests.training_tools import Recorder, digest, run_config, succeeded, train

Make = Callable[..., RunConfig]


def first_checkpoint(config: RunConfig, folder: Path, warm: WarmBackbones) -> Checkpoint:
    return train([config], folder, warm).checkpoints["r0"][0]


def continued(config: RunConfig, folder: Path, start: Path, warm: WarmBackbones) -> Recorder:
    recorder = Recorder()
    train_group([Member("r0", config, folder, start)], recorder, warm)
    return recorder


def test_nothing_is_said_where_nothing_changed(
    configure: Make, warm: WarmBackbones, tmp_path: Path
) -> None:
    config = configure("prompt_tuning")
    start = first_checkpoint(config, tmp_path / "a", warm)
    recorder = continued(config, tmp_path / "b", start.folder, warm)
    assert recorder.notices == {}
    assert "environment_changes" not in succeeded(recorder).result
    noted = json.loads((start.folder / "state.json").read_text())["environment"]
    assert set(noted) == set(environment.LABELS)
    assert (noted["threads"], noted["device"], noted["dtype"]) == (1, "cpu", "float32")
    assert noted["torch"] == torch.__version__


def test_another_environment_is_named_and_kept_to_the_end(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("prompt_tuning")
    start = first_checkpoint(config, tmp_path / "a", warm)
    real = environment.version
    other = {"torch": "9.9.9"}
    monkeypatch.setattr(environment, "version", lambda name: other.get(name) or real(name))
    monkeypatch.setattr(environment.torch, "get_num_threads", lambda: 64)
    recorder = continued(config, tmp_path / "b", start.folder, warm)
    changes = f"torch {torch.__version__} → 9.9.9, threads 1 → 64"
    assert recorder.notices["r0"] == [
        f"Continued in another environment: {changes}; its numbers may differ from an unbroken "
        "run's in the last digits."
    ]
    said = [f"After update 3: {changes}."]
    assert succeeded(recorder).result["environment_changes"] == said
    # Continued once more, now where it was: the first change is not forgotten.
    last = recorder.checkpoints["r0"][-1]
    third = continued(config, tmp_path / "c", last.folder, warm)
    assert third.notices == {}
    assert succeeded(third).result["environment_changes"] == said
    monkeypatch.undo()
    fourth = continued(config, tmp_path / "d", last.folder, warm)
    back = f"After update 6: torch 9.9.9 → {torch.__version__}, threads 64 → 1."
    assert succeeded(fourth).result["environment_changes"] == [*said, back]


def test_a_checkpoint_without_a_record_is_continued_in_silence(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("prompt_tuning")
    with monkeypatch.context() as patch:
        patch.setattr("core.training.run.conditions", lambda backbone: {})
        start = first_checkpoint(config, tmp_path / "a", warm)
    recorder = continued(config, tmp_path / "b", start.folder, warm)
    assert (recorder.notices, succeeded(recorder).outcome) == ({}, Outcome.SUCCEEDED)


def test_other_weights_of_the_backbone_end_the_run(
    task: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    folder = make_tiny_bert(tmp_path / "backbone")
    config = run_config("prompt_tuning", task=task, backbone={"path": str(folder)})
    start = first_checkpoint(config, tmp_path / "a", warm)
    shutil.rmtree(folder)
    make_tiny_bert(folder, seed=1)
    fresh = WarmBackbones(offline=True, threads=1)
    recorder = continued(config, tmp_path / "b", start.folder, fresh)
    ending = recorder.endings["r0"]
    assert (ending.outcome, ending.kind) == (Outcome.FAILED, "backbone_changed")
    there = json.loads((start.folder / "adapter.json").read_text())["weights_sha256"][:12]
    assert f"({there} there, " in ending.detail
    assert "Bring the former weights back and retry, or clone the run" in ending.detail
    assert recorder.losses == {}


@pytest.mark.parametrize(
    "change",
    [{"init": 1}, {"max_updates": 7}, {"batch_size": 4}, {"weight_decay": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_other_settings_is_given_up(
    change: dict[str, Any], configure: Make, warm: WarmBackbones, tmp_path: Path
) -> None:
    start = first_checkpoint(configure("prompt_tuning"), tmp_path / "a", warm)
    recorder = continued(configure("prompt_tuning", **change), tmp_path / "b", start.folder, warm)
    ending = recorder.endings["r0"]
    assert (ending.outcome, ending.kind) == (Outcome.FAILED, "damaged_checkpoint")
    assert "other settings or labels" in ending.detail


def test_the_same_attempt_twice_in_one_process_is_charged_twice_the_same(
    configure: Make, tmp_path: Path
) -> None:
    """What is cached by then was charged to the same run before."""
    warm = WarmBackbones(offline=True, threads=1)
    config = configure("linear_probe")
    found = [train([config], tmp_path / name, warm) for name in ("a", "b")]
    passes = [succeeded(recorder).result["forward_equivalents"] for recorder in found]
    assert passes[0] == passes[1] == 48 + 21 + 27
    assert digest(found[0], "r0") == digest(found[1], "r0")
