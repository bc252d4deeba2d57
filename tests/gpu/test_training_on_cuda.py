"""Training on a CUDA device: every method, half precision, large models, speed."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, RobertaConfig, RobertaModel, T5Config, T5Model

from core.backbones.facts import facts
from core.backbones.memory import peak_bytes
from core.backbones.spec import BackboneChoice
from core.methods import METHODS
from core.recipe import RunConfig
from core.training.group import Member, WarmBackbones, prepare
from core.training.loop import GroupLoop
from core.training.run import TrainingRun
from tests.tiny import make_tiny_bert, make_tokenizer
from tests.training_tools import Recorder, run_config, succeeded, train, write_task

DEVICE = "cuda"
RESULTS = Path(__file__).parents[1] / "bench" / "results" / "gpu-speed.json"
DYNAMIC: list[Any] = [
    "adap_ins_vec_pos",
    {"kind": "adap_ins_pos", "place": "slot", "selection": "exact"},
    {"kind": "adap_pos", "selection": "sampled", "samples": 2, "injection": "deep_add"},
    {"kind": "adap_ins_len", "feature": "embedding_mean"},
    {"kind": "adap_pos_ins_vec", "behaviour": "paper_code"},
]
LARGE = ("roberta", "t5")
TIMED = ("fine_tuning", "prompt_tuning", "adap_ins_vec_pos", "p_tuning_v2", "lora")
WARM_UP, MEASURED = 3, 10

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"path": str(make_tiny_bert(tmp_path_factory.mktemp("backbone")))}


@pytest.fixture(scope="module")
def warm() -> WarmBackbones:
    return WarmBackbones(offline=True, device=DEVICE)


def large(name: str, folder: Path) -> Path:
    """Save random weights of the shape of RoBERTa-large or T5-large with a small tokenizer."""
    folder.mkdir(parents=True)
    make_tokenizer(folder, roberta_ids=name == "roberta")
    layers = {"num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 1024}
    model: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "roberta":
            shape = RobertaConfig(
                vocab_size=50_265,
                intermediate_size=4096,
                max_position_embeddings=514,
                type_vocab_size=1,
                **layers,
            )
            model = RobertaModel(shape, add_pooling_layer=False)
        else:
            model = T5Model(
                T5Config(
                    vocab_size=32_128, d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_heads=16
                )
            )
        model.save_pretrained(folder)
    return folder


def steps_of(
    config: RunConfig, folder: Path, warm: WarmBackbones
) -> tuple[TrainingRun, Recorder, GroupLoop]:
    run = prepare(Member("r0", config, folder), warm.for_run(config), ())
    recorder = Recorder()
    return run, recorder, GroupLoop([run], recorder)


def assert_full_precision(run: TrainingRun) -> None:
    state = run.updater.optimizer.state
    kept = [value for entry in state.values() for value in entry.values()]
    tensors: list[Tensor] = [*run.updater.parameters, *kept]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


@pytest.mark.parametrize("method", [*METHODS, *DYNAMIC], ids=str)
def test_every_method_steps_and_half_precision_is_near_full(
    method: Any, task: Path, tiny: dict[str, str], tmp_path: Path, warm: WarmBackbones
) -> None:
    losses: dict[str, list[float]] = {}
    for dtype in ("float32", "bfloat16"):
        config = run_config(
            method, task=task, backbone=tiny, max_updates=3, dtype=dtype, audit=True
        )
        run, recorder, loop = steps_of(config, tmp_path / dtype, warm)
        assert {tensor.device.type for tensor in run.updater.parameters} == {DEVICE}
        before = [tensor.detach().clone() for tensor in run.updater.parameters]
        while run.progress.step < 2:
            loop.turn()
        after = zip(before, run.updater.parameters, strict=True)
        assert any(not torch.equal(old, new) for old, new in after)
        assert_full_precision(run)
        losses[dtype] = [float.fromhex(loss) for loss in recorder.losses["r0"].values()]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_parts_of_an_update_are_the_update(
    optimizer: str, task: Path, tiny: dict[str, str], tmp_path: Path, warm: WarmBackbones
) -> None:
    found = []
    for parts in (1, 4):
        config = run_config(
            "adap_ins_vec_pos",
            task=task,
            backbone=tiny,
            batch_size=32,
            accumulation=parts,
            optimizer=optimizer,
        )
        recorder = train([config], tmp_path / f"{parts}", warm)
        succeeded(recorder)
        found.append([float.fromhex(loss) for loss in recorder.losses["r0"].values()])
    assert found[1] == pytest.approx(found[0], abs=1e-4)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LARGE)
def test_large_models_fit_and_prompts_are_not_slower_than_fine_tuning(
    name: str, tmp_path: Path
) -> None:
    """A batch of 32 texts; float32 for all, and bfloat16 for what leaves the weights alone."""
    task = write_task(tmp_path / "task", train=320, val=32, test=32)
    choice = {"path": str(large(name, tmp_path / "backbone"))}
    sizes = facts(BackboneChoice.model_validate(choice), offline=True)
    warm = WarmBackbones(offline=True, device=DEVICE)
    rows: dict[str, dict[str, float]] = {}
    for dtype in ("float32", "bfloat16"):
        for method in TIMED:
            if method == "fine_tuning" and dtype == "bfloat16":
                continue
            settings = {"batch_size": 32, "max_updates": 100, "dtype": dtype, "evaluations": 1}
            config = run_config(method, task=task, backbone=choice, **settings)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            run, _, loop = steps_of(config, tmp_path / f"{method}-{dtype}", warm)
            seconds = timed(run, loop.turn)
            assert_full_precision(run)
            rows[f"{method}, {dtype}"] = {
                "seconds_per_update": seconds,
                "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
                "estimated_gib": peak_bytes(config, sizes) / 2**30,
            }
            del run, loop
    usual = rows["fine_tuning, float32"]["seconds_per_update"]
    for row in rows.values():
        row["of_fine_tuning"] = row["seconds_per_update"] / usual
        assert row["peak_gib"] < 2 * row["estimated_gib"]
    write_results(name, rows)
    assert rows["prompt_tuning, float32"]["of_fine_tuning"] < 1.1


def timed(run: TrainingRun, turn: Callable[[], None]) -> float:
    """Return the median seconds of an update."""
    laps: list[float] = []
    while run.progress.step < WARM_UP + MEASURED:
        torch.cuda.synchronize()
        start = time.perf_counter()
        turn()
        torch.cuda.synchronize()
        laps.append(time.perf_counter() - start)
    return statistics.median(laps[WARM_UP:])


def write_results(name: str, rows: dict[str, dict[str, float]]) -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found["device"] = torch.cuda.get_device_name()
    found[f"{name}-large"] = {
        key: {field: round(value, 4) for field, value in row.items()} for key, row in rows.items()
    }
    RESULTS.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
