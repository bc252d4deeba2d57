"""Optimisers, parts of an update, the authors' stepping and half precision in the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.methods import METHODS
from core.methods._module import BackboneInputs, SelectorNoise, TokenBatch
from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.training.drawn import Drawn
from core.training.group import Member, WarmBackbones, prepare, train_group
from core.training.launch import launch
from core.training.loop import GroupLoop
from core.training.run import TrainingRun
from core.training.updates import Updater
from tests.training_tools import (
    Recorder,
    assert_same_as_alone,
    digest,
    run_config,
    succeeded,
    train,
)

Make = Callable[..., RunConfig]
POOL = {"kind": "adap_ins_vec_pos", "num_virtual_tokens": 4}
SUMMED = {"kind": "adap_ins_pos", "place": "slot", "num_virtual_tokens": 2, "selection": "exact"}
SAMPLED = {**SUMMED, "selection": "sampled", "samples": 2, "injection": "deep_add"}
ONE_CUT = {"kind": "adap_pos", "behaviour": "paper_code", "num_virtual_tokens": 4}
THEIRS = {"stepping": "paper_code", "accumulation": 4, "batch_size": 32, "evaluations": 1}


@pytest.fixture
def configure(task: Path, tiny: dict[str, str]) -> Make:
    """Make a run that is evaluated once."""

    def make(method: Any, **rest: Any) -> RunConfig:
        settings = {"evaluations": 1, **rest}
        return run_config(method, task=task, backbone=tiny, **settings)

    return make


def weights(recorder: Recorder, run_id: str = "r0") -> dict[str, Tensor]:
    return load_file(succeeded(recorder, run_id).files["adapter"] / "adapter.safetensors")


def curve(recorder: Recorder, run_id: str = "r0") -> list[float]:
    return [float.fromhex(loss) for loss in recorder.losses[run_id].values()]


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        pytest.param("prompt_tuning", 4, id="prompt", marks=pytest.mark.full),
        pytest.param(POOL, 4, id="pool"),
        pytest.param(SUMMED, 3, id="summed"),
        pytest.param(SAMPLED, 4, id="sampled", marks=pytest.mark.full),
        pytest.param(ONE_CUT, 4, id="one_cut", marks=pytest.mark.full),
        pytest.param("p_tuning_v2", 5, id="prefix", marks=pytest.mark.full),
    ],
)
def test_an_update_in_parts_is_the_update_of_the_whole_batch(
    method: Any, parts: int, configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    """Batches of 32 and 16 in 4 parts; in 3 and 5 the parts are of unequal sizes."""
    settings = {"batch_size": 32, "max_updates": 4}
    whole = train([configure(method, **settings)], tmp_path / "whole", warm)
    cut = train([configure(method, accumulation=parts, **settings)], tmp_path / "cut", warm)
    assert curve(cut) == pytest.approx(curve(whole), abs=1e-6)
    assert len(curve(cut)) == 4
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], tensor, rtol=1e-5, atol=2e-5)
    for key in ("updates", "examples", "forward_equivalents"):
        assert succeeded(cut).result[key] == succeeded(whole).result[key]


def gradients_of(
    config: RunConfig,
    folder: Path,
    warm: WarmBackbones,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[dict[str, Tensor], float]:
    """Gradients that the loop hands to the first update, and the loss that it tells."""
    run = prepare(Member("r0", config, folder), warm.for_run(config), ())
    found: dict[str, Tensor] = {}

    def keep(self: Updater, step: int) -> float:
        for name, tensor in run.model.named_tensors().items():
            if tensor.grad is not None:
                found[name] = tensor.grad.clone()
        return 1.0

    monkeypatch.setattr(Updater, "apply", keep)
    recorder = Recorder()
    GroupLoop([run], recorder).turn()
    monkeypatch.undo()
    return found, float.fromhex(recorder.losses["r0"][1])


@pytest.mark.parametrize("method", ["fine_tuning", "lora", "p_tuning", "smop", POOL], ids=str)
def test_the_gradients_of_parts_add_up_to_those_of_the_batch(
    method: Any,
    configure: Make,
    tmp_path: Path,
    warm: WarmBackbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"batch_size": 30, "max_updates": 2}
    whole = gradients_of(configure(method, **settings), tmp_path / "a", warm, monkeypatch)
    config = configure(method, accumulation=4, **settings)
    cut = gradients_of(config, tmp_path / "b", warm, monkeypatch)
    assert cut[1] == pytest.approx(whole[1], abs=1e-6)
    assert cut[0].keys() == whole[0].keys() != set()
    for name, gradient in whole[0].items():
        torch.testing.assert_close(cut[0][name], gradient, rtol=1e-4, atol=1e-6)


def test_no_pass_of_the_backbone_has_more_rows_than_a_part(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = configure(SUMMED, batch_size=24, accumulation=4, max_updates=2)
    drawn = prepare(Member("r0", config, tmp_path), warm.for_run(config), ()).draw()
    rows = [part.rows.inputs.embeddings.shape[0] for part in drawn.parts if part.rows]
    assert rows == [6 * 4] * 4, "four slots of six examples each"
    assert sum(part.weight for part in drawn.parts) == 1.0


def test_runs_that_cut_alike_or_otherwise_train_together_as_alone(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    configs = [
        configure(POOL, accumulation=4, max_updates=2),
        configure("prompt_tuning", accumulation=2, max_updates=2, optimizer="adafactor"),
        configure("fine_tuning", accumulation=3, max_updates=2, backbone_dropout=True),
        configure("adap_pos", max_updates=2, **THEIRS),
    ]
    assert_same_as_alone(configs, tmp_path, warm)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        pytest.param(POOL, {"optimizer": "adafactor", "accumulation": 2}, id="pool"),
        pytest.param(
            "p_tuning",
            {"optimizer": "adafactor", "schedule": "constant", "warmup_updates": 3},
            id="p_tuning",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "adap_ins_vec",
            {**THEIRS, "optimizer": "adafactor"},
            id="each",
            marks=pytest.mark.full,
        ),
        pytest.param(ONE_CUT, {**THEIRS, "clip_norm": 1e-3}, id="fourth", marks=pytest.mark.full),
    ],
)
def test_a_drained_run_goes_on_bit_for_bit(
    method: Any,
    settings: dict[str, Any],
    configure: Make,
    tmp_path: Path,
    warm: WarmBackbones,
) -> None:
    config = configure(method, max_updates=6, weight_decay=0.01, **settings)
    whole = train([config], tmp_path / "whole", warm)
    stopping = Recorder(lambda run_id, step: StopKind.DRAIN if step >= 2 else None)
    train([config], tmp_path / "first", warm, stopping)
    assert stopping.endings["r0"].outcome is Outcome.DRAINED
    folder = stopping.checkpoints["r0"][-1].folder
    resumed = Recorder()
    train_group([Member("r0", config, tmp_path / "second", resume_from=folder)], resumed, warm)
    assert min(resumed.losses["r0"]) == 3
    assert stopping.losses["r0"] | resumed.losses["r0"] == whole.losses["r0"]
    assert digest(resumed, "r0")["weights"] == digest(whole, "r0")["weights"]


def test_adafactor_is_another_optimiser_with_rates_of_its_own(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    settings = {"schedule": "constant", "warmup_updates": 4, "evaluations": 2}
    found = train([configure(POOL, optimizer="adafactor", **settings)], tmp_path / "a", warm)
    scalars = found.scalars_at["r0"]
    for group, rate in (("prompt", 0.3), ("selector", 0.3), ("head", 0.01)):
        told = [scalars[step][f"learning_rate/{group}"] for step in (3, 6)]
        assert told == pytest.approx([rate * 3 / 4, rate])
    rates = {"prompt": 0.3, "selector": 0.3, "head": 0.01}
    usual = train([configure({**POOL, "learning_rates": rates}, **settings)], tmp_path / "b", warm)
    assert curve(usual)[0] == curve(found)[0]
    assert curve(usual)[2:] != curve(found)[2:]


def test_pools_and_fixed_prompts_step_on_each_part_and_clip_every_fourth(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    """Until the fourth update all is as in batches of 8 without clipping, and then not."""
    small = {"optimizer": "adamw", "weight_decay": 0.01, "max_updates": 6, "evaluations": 1}
    theirs = configure("adap_ins_vec", clip_norm=1e-6, **{**small, **THEIRS})
    plain = configure("adap_ins_vec", clip_norm=1e6, batch_size=8, **small)
    found = train([theirs, plain], tmp_path, warm)
    stepped, unclipped = found.losses["r0"], found.losses["r1"]
    assert [stepped[step] for step in range(1, 5)] == [unclipped[step] for step in range(1, 5)]
    assert [stepped[step] for step in (5, 6)] != [unclipped[step] for step in (5, 6)]
    assert succeeded(found, "r0").result["examples"] == 6 * 8


@pytest.mark.parametrize(("kind", "updates"), [("adap_ins_vec_pos", 12), ("adap_pos", 3)])
@pytest.mark.parametrize(
    ("rule", "expected"),
    [("linear", (1.0, 0.75, 0.5)), ("paper_code", (1.0, math.exp(-3e-6), math.exp(-9e-6)))],
)
def test_the_temperature_falls_after_every_fourth_part_whatever_an_update_is(
    kind: str,
    updates: int,
    rule: str,
    expected: tuple[float, ...],
    configure: Make,
    tmp_path: Path,
    warm: WarmBackbones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = {"kind": kind, "num_virtual_tokens": 4, "temperature": {"rule": rule}}
    config = configure(method, max_updates=updates, **THEIRS)
    run = prepare(Member("r0", config, tmp_path), warm.for_run(config), ())
    part, seen = run.model.part().method, []
    adapt = part.adapt

    def keep(batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        assert noise is not None
        seen.append(noise.temperature)
        return adapt(batch, noise)

    monkeypatch.setattr(part, "adapt", keep)
    loop = GroupLoop([run], Recorder())
    for _ in range(updates):
        loop.turn()
    assert run.progress.step == updates
    assert seen == pytest.approx([value for value in expected for _ in range(4)], rel=1e-9)


def test_learnt_positions_sum_the_gradients_of_four_parts(
    configure: Make, tmp_path: Path, warm: WarmBackbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(ONE_CUT, max_updates=2, **THEIRS)
    found, told = gradients_of(config, tmp_path / "a", warm, monkeypatch)
    run = prepare(Member("r0", config, tmp_path / "b"), warm.for_run(config), ())
    drawn = run.draw()
    cuts = [part.rows.inputs.choice.cut for part in drawn.parts if part.rows]
    assert [len(cut.unique()) for cut in cuts if cut is not None] == [1] * 4
    losses = []
    for part, logits in each_part(run, drawn):
        loss = torch.nn.functional.cross_entropy(logits, part.target.labels)
        loss.backward()
        losses.append(loss.item())
    assert len(losses) == 4
    assert told == pytest.approx(sum(losses) / 4, abs=1e-6)
    for name, tensor in run.model.named_tensors().items():
        torch.testing.assert_close(found[name], tensor.grad, rtol=1e-4, atol=1e-6)


def each_part(run: TrainingRun, drawn: Drawn) -> Any:
    for part in drawn.parts:
        assert part.rows is not None
        yield part, launch(run.warm.backbone, [part.rows])[0]


LONGER: list[Any] = [
    SUMMED,
    POOL,
    {"kind": "adap_ins_len", "injection": "deep_add", "feature": "embedding_mean"},
    {"kind": "p_tuning_v2", "prefix_projection": True, "projection_size": 16},
    {"kind": "p_tuning", "encoder": "lstm"},
]
HALF = [*METHODS, SAMPLED, *(pytest.param(method, marks=pytest.mark.full) for method in LONGER)]


@pytest.mark.parametrize("method", HALF, ids=str)
def test_in_half_precision_all_that_learns_is_in_full(
    method: Any, configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    losses = {}
    for dtype in ("float32", "bfloat16"):
        config = configure(method, dtype=dtype, max_updates=1, optimizer="adamw")
        run = prepare(Member("r0", config, tmp_path / dtype), warm.for_run(config), ())
        (part,) = run.draw().parts
        logits = part.logits
        if part.rows is not None:
            inputs, (logits,) = part.rows.inputs, launch(run.warm.backbone, [part.rows])
            shares = [share for _, share in inputs.choice.by_axis().values()]
            if inputs.choice.pool_weights is not None:
                shares.append(inputs.choice.pool_weights)
            if inputs.candidates is not None:
                shares += [inputs.candidates.log_prior, inputs.candidates.bonus]
            assert {share.dtype for share in shares} <= {torch.float32}
        assert logits is not None
        loss = part.loss(logits)
        assert logits.dtype == loss.dtype == torch.float32
        recorder = Recorder()
        GroupLoop([run], recorder).turn()
        losses[dtype] = float.fromhex(recorder.losses["r0"][1])
        assert losses[dtype] == loss.item()
        state = run.updater.optimizer.state
        kept = [value for entry in state.values() for value in entry.values()]
        assert len(state) > 0
        assert {tensor.dtype for tensor in (*run.updater.parameters, *kept)} == {torch.float32}
        frozen = {tensor.dtype for tensor in run.warm.backbone.module.parameters()}
        assert frozen == {getattr(torch, dtype)}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.03)
