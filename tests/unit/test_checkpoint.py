from __future__ import annotations

import os
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from core import durable
from core.backbones.load import Backbone, load_backbone
from core.backbones.spec import BackboneChoice
from core.errors import BackboneError, DamagedCheckpoint, TrainingError
from core.training.checkpoint import (
    AdapterCard,
    RunProgress,
    TaskCard,
    load_adapter,
    load_checkpoint,
    model_tensors,
    read_card,
    save_adapter,
    save_checkpoint,
)
from core.training.model import RunModel, build_model
from core.training.optimizers import put_optimizer_tensors
from core.training.sealed import SealedFolder, write_sealed
from tests.tiny import make_tiny_bert
from tests.training_tools import run_config

LOSSES = {"own": [0.1 + 0.2]}
CONDITIONS = {"torch": "2.0", "threads": 1}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_tiny_bert(tmp_path_factory.mktemp("backbone"))
    return load_backbone(BackboneChoice(path=str(folder)), offline=True)


def make_task(name: str, labels: tuple[str, ...]) -> TaskCard:
    return TaskCard(
        name=name,
        title=name.title(),
        labels=labels,
        kind="classes",
        inputs=("text",),
        template="plain",
        segments=("{text}",),
        spec="",
        num_outputs=len(labels),
    )


@pytest.fixture(scope="module")
def card(backbone: Backbone) -> AdapterCard:
    config = run_config(
        "prompt_tuning", task=Path("/nowhere"), backbone={"path": str(backbone.folder)}
    )
    return AdapterCard(
        config=config,
        tasks=(make_task("own", ("no", "yes", "määh")),),
        num_virtual_tokens=10,
        weights_sha256=backbone.weights_sha256,
    )


def trained(backbone: Backbone, card: AdapterCard) -> tuple[RunModel, torch.optim.AdamW]:
    outputs = {task.name: task.num_outputs for task in card.tasks}
    model = build_model(card.config.method, backbone, outputs, 0, card.config.regime.own_axes)
    optimizer = torch.optim.AdamW(tensors_of(model), lr=0.1, fused=True)
    for parameter in tensors_of(model):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def tensors_of(model: RunModel) -> list[torch.nn.Parameter]:
    return [tensor for group in model.parameter_groups().values() for tensor in group]


@pytest.fixture(scope="module")
def checkpoint(
    backbone: Backbone, card: AdapterCard, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    model, optimizer = trained(backbone, card)
    progress = RunProgress(step=1, evaluated_step=1, best_step=1, recent_losses=LOSSES)
    save_checkpoint(folder / "one", model, optimizer, progress, card, None, CONDITIONS)
    progress.step = 2
    best = folder / "one" / "adapter.safetensors"
    save_checkpoint(folder / "two", model, optimizer, progress, card, best, CONDITIONS)
    return folder / "two"


def test_everything_comes_back(backbone: Backbone, card: AdapterCard, checkpoint: Path) -> None:
    restored = load_checkpoint(checkpoint)
    model, optimizer = trained(backbone, card)
    assert restored.card == card
    assert asdict(restored.progress)["recent_losses"] == LOSSES
    assert restored.best == checkpoint / "best.safetensors"
    assert restored.environment == CONDITIONS
    assert restored.num_bytes == sum(path.stat().st_size for path in checkpoint.iterdir())
    for name, tensor in model_tensors(model).items():
        assert torch.equal(restored.tensors[name], tensor)
    fresh = torch.optim.AdamW(tensors_of(model), lr=0.1, fused=True)
    put_optimizer_tensors(model, fresh, restored.moments)
    for parameter in tensors_of(model):
        for kind in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(
                fresh.state[parameter][kind], optimizer_state(optimizer, model, parameter, kind)
            )


def optimizer_state(
    optimizer: torch.optim.AdamW, model: RunModel, like: torch.Tensor, kind: str
) -> torch.Tensor:
    """State of the optimiser's tensor that has the shape of another model's."""
    found = [state[kind] for tensor, state in optimizer.state.items() if tensor.shape == like.shape]
    assert found
    return found[0]


def test_the_best_of_a_checkpoint_at_the_best_step_is_its_own(checkpoint: Path) -> None:
    first = checkpoint.parent / "one"
    assert load_checkpoint(first).best == first / "adapter.safetensors"


def test_no_flip_and_no_truncation_is_ever_accepted(checkpoint: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    names = sorted(path.name for path in checkpoint.iterdir())
    assert len(names) == 6
    for turn in range(200):
        copy = tmp_path / str(turn)
        shutil.copytree(checkpoint, copy)
        target = copy / names[turn % len(names)]
        content = bytearray(target.read_bytes())
        kind = draw.choice(("flip", "flip", "cut", "grown", "other", "missing"))
        if kind == "flip":
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            target.write_bytes(content)
        elif kind == "cut":
            target.write_bytes(content[: draw.randrange(len(content))])
        elif kind == "grown":
            target.write_bytes(content + b" ")
        elif kind == "other":
            target.write_bytes((copy / names[(turn + 2) % len(names)]).read_bytes())
        else:
            target.unlink()
        with pytest.raises(DamagedCheckpoint, match=str(copy)):
            load_checkpoint(copy)
        shutil.rmtree(copy)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "first").write_text("done")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match="No space left"):
        write_sealed(tmp_path / "target", fill)
    assert list(tmp_path.iterdir()) == []


def test_parents_that_had_to_be_made_are_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync", synced.append)
    write_sealed(tmp_path / "a" / "b" / "target", lambda folder: None)
    assert synced[-3:] == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]


@pytest.mark.parametrize("key", ["exp_avg/head.bias", "step/method.prompt", "exp_avg/other"])
def test_moments_that_do_not_fit_are_damage(
    key: str, backbone: Backbone, card: AdapterCard, checkpoint: Path
) -> None:
    model, optimizer = trained(backbone, card)
    moments = dict(load_checkpoint(checkpoint).moments)
    moments[key] = torch.zeros(7)
    with pytest.raises(DamagedCheckpoint):
        put_optimizer_tensors(model, optimizer, moments)


def test_an_existing_folder_is_not_replaced(tmp_path: Path) -> None:
    write_sealed(tmp_path / "target", lambda folder: (folder / "a").write_text("1") and None)
    with pytest.raises(TrainingError, match="could not be written"):
        write_sealed(tmp_path / "target", lambda folder: (folder / "a").write_text("2") and None)
    assert SealedFolder(tmp_path / "target").read("a") == b"1"


def test_an_adapter_alone_gives_the_same_model(
    backbone: Backbone, card: AdapterCard, tmp_path: Path
) -> None:
    model, _ = trained(backbone, card)
    seal = save_adapter(tmp_path / "adapter", model_tensors(model), card)
    assert seal.num_bytes == sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir())
    assert read_card(tmp_path / "adapter") == card
    loaded = load_adapter(tmp_path / "adapter", backbone)
    assert not loaded.part().training
    assert model_tensors(loaded).keys() == {"method.prompt", "head.weight", "head.bias"}
    for name, tensor in model_tensors(model).items():
        assert torch.equal(model_tensors(loaded)[name], tensor)


def test_an_adapter_refuses_other_weights(
    backbone: Backbone, card: AdapterCard, tmp_path: Path
) -> None:
    model, _ = trained(backbone, card)
    other = card.model_copy(update={"weights_sha256": "0" * 64})
    save_adapter(tmp_path / "adapter", model_tensors(model), other)
    with pytest.raises(BackboneError, match="other weights"):
        load_adapter(tmp_path / "adapter", backbone)


def test_a_damaged_block_costs_one_checkpoint_only(
    backbone: Backbone, card: AdapterCard, tmp_path: Path
) -> None:
    model, optimizer = trained(backbone, card)
    progress, best = RunProgress(step=1, evaluated_step=1, best_step=1), None
    for name in ("one", "two", "three"):
        save_checkpoint(tmp_path / name, model, optimizer, progress, card, best, CONDITIONS)
        best = load_checkpoint(tmp_path / name).best
        progress.step += 1
    with (tmp_path / "three" / "best.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(DamagedCheckpoint, match=r"best\.safetensors"):
        load_checkpoint(tmp_path / "three")
    assert load_checkpoint(tmp_path / "two").best == tmp_path / "two" / "best.safetensors"
    assert load_checkpoint(tmp_path / "one").best == tmp_path / "one" / "adapter.safetensors"
    # What is damaged already is never sealed anew.
    with pytest.raises(DamagedCheckpoint, match=r"three is damaged: best\.safetensors"):
        save_checkpoint(tmp_path / "four", model, optimizer, progress, card, best, CONDITIONS)
    assert not (tmp_path / "four").exists()
