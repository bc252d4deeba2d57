"""The estimate of memory: its terms, that it grows, and that real training agrees with it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.backbones.facts import facts
from core.backbones.memory import PROCESS_BYTES, WORK_BYTES, peak_bytes
from core.methods import ALIASES, METHODS, BackboneFacts
from core.recipe import RunConfig
from core.recipe_files import parse_recipe

ROOT = Path(__file__).resolve().parents[2]
BERT = BackboneFacts(
    family="bert",
    hidden=768,
    layers=12,
    heads=12,
    head_dim=64,
    vocab=28_996,
    max_positions=512,
    total_parameters=107_719_680,
    bias_parameters=100_000,
)
LORA_BF16 = {"dtype": "bfloat16"}


def config(method: Any, tasks: tuple[Any, ...] = ("desk",), **more: Any) -> RunConfig:
    """Make a run; keywords go to ``training`` but for ``regimes``."""
    content: dict[str, Any] = {"name": "Test", "tasks": list(tasks), "methods": [method]}
    if "regimes" in more:
        content["regimes"] = more.pop("regimes")
    return parse_recipe({**content, "training": more}).runs()[0]


def need(method: Any, sizes: BackboneFacts = BERT, **more: Any) -> int:
    return peak_bytes(config(method, **more), sizes)


def test_fine_tuning_needs_weights_twice_gradients_and_moments() -> None:
    fixed = need("linear_probe", max_tokens=8) - PROCESS_BYTES - WORK_BYTES
    assert fixed == pytest.approx(4 * BERT.total_parameters, rel=0.1)
    trained = need("fine_tuning", batch_size=1, max_tokens=8) - need("linear_probe", max_tokens=8)
    assert trained == pytest.approx(16 * BERT.total_parameters, rel=0.05)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_it_grows_with_batch_length_and_layers(method: str) -> None:
    small = need(method, batch_size=8, max_tokens=64)
    assert need(method, batch_size=16, max_tokens=64) >= small
    assert need(method, batch_size=8, max_tokens=256) > small
    deeper = replace(BERT, layers=24, total_parameters=2 * BERT.total_parameters)
    assert need(method, deeper, batch_size=8, max_tokens=64) > small


def test_it_never_shrinks_when_a_batch_or_a_text_grows_by_one() -> None:
    for field in ("batch_size", "max_tokens"):
        found = [need("prompt_tuning", **{field: value}) for value in range(8, 140)]
        assert found == sorted(found)
        assert found[-1] > found[0]


def test_parts_of_an_update_keep_the_activations_of_one() -> None:
    base = need("linear_probe")
    whole = need("prompt_tuning", batch_size=64) - base
    quarter = need("prompt_tuning", batch_size=16) - base
    cut = need("prompt_tuning", batch_size=64, accumulation=4) - base
    assert quarter < cut < 1.2 * quarter < whole
    found = [need("adap_pos", batch_size=64, accumulation=parts) for parts in (1, 2, 4, 16)]
    assert found == sorted(found, reverse=True)
    theirs = {"stepping": "paper_code", "accumulation": 4, "batch_size": 64}
    assert need("prompt_tuning", **theirs) - base == quarter
    assert need("adap_pos", **theirs) == need("adap_pos", batch_size=64, accumulation=4)


def test_adafactor_remembers_less() -> None:
    saved = need("fine_tuning") - need("fine_tuning", optimizer="adafactor")
    assert saved == pytest.approx(4 * BERT.total_parameters, rel=0.01)


def test_only_a_method_that_trains_before_the_head_keeps_activations() -> None:
    assert need("linear_probe", batch_size=8) == need("linear_probe", batch_size=512)
    assert need("lora") > need("prompt_tuning", batch_size=8) > need("linear_probe")
    assert need("prompt_tuning", backbone_dropout=True) > need("prompt_tuning")


def test_prompts_prefixes_and_summed_choices_take_their_room() -> None:
    def prompt(length: int) -> dict[str, Any]:
        return {"kind": "prompt_tuning", "num_virtual_tokens": length}

    def prefix(length: int) -> dict[str, Any]:
        return {"kind": "p_tuning_v2", "num_virtual_tokens": length}

    def summed(**more: Any) -> dict[str, Any]:
        return {**ALIASES["adap_ins_pos"], "kind": "dynamic_prompt", **more}

    assert need(prompt(100)) > need(prompt(10))
    assert need(prefix(100)) > need(prefix(10))
    one_pass = need(summed()) - need("linear_probe")
    four = need(summed(selection="sampled", samples=4)) - need("linear_probe")
    all_cuts = need(summed(selection="exact", num_virtual_tokens=20)) - need("linear_probe")
    assert four == pytest.approx(4 * one_pass, rel=0.3)
    assert all_cuts == pytest.approx(21 * one_pass, rel=0.3)


def test_choices_are_rows_and_joint_tasks_share_what_they_train() -> None:
    base = need("linear_probe", tasks=("cb",))
    alone = need("prompt_tuning", tasks=("cb",)) - base
    copa = need("prompt_tuning", tasks=("copa",)) - base
    assert copa == pytest.approx(2 * alone, rel=0.2)
    joint = config("prompt_tuning", ("cb", "copa"), regimes=["multi_task"])
    assert peak_bytes(joint, BERT) - base == pytest.approx(copa, rel=0.05)


def test_half_precision_halves_weights_and_activations_of_a_frozen_backbone() -> None:
    full = need("prompt_tuning") - PROCESS_BYTES - WORK_BYTES
    half = need("prompt_tuning", dtype="bfloat16") - PROCESS_BYTES - WORK_BYTES
    assert 0.5 <= half / full < 0.6
    saved = need("fine_tuning") - need("fine_tuning", dtype="bfloat16")
    assert saved == 2 * BERT.total_parameters, "its own copy stays float32"


@pytest.mark.parametrize(
    ("method", "batch_size", "max_tokens"),
    [
        ("prompt_tuning", 16, 64),
        pytest.param("prompt_tuning", 16, 256, marks=pytest.mark.full),
        pytest.param("fine_tuning", 8, 64, marks=pytest.mark.full),
        pytest.param("fine_tuning", 32, 128, marks=pytest.mark.full),
        pytest.param("lora", 16, 128, marks=pytest.mark.full),
        pytest.param("p_tuning_v2", 16, 128, marks=pytest.mark.full),
        pytest.param("linear_probe", 16, 128, marks=pytest.mark.full),
    ],
)
def test_real_training_takes_what_is_estimated(
    method: str, batch_size: int, max_tokens: int, tmp_path: Path
) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not tell a process's memory in /proc")
    command = [sys.executable, "-m", "tests.memory_probe", str(tmp_path / "p"), method]
    done = subprocess.run(
        [*command, str(batch_size), str(max_tokens)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported, peak = map(int, done.stdout.split())
    run = config(method, batch_size=batch_size, max_tokens=max_tokens)
    estimate = peak_bytes(run, facts(run.backbone))
    assert 0.5 < estimate / peak < 2
    assert 0.5 < (estimate - PROCESS_BYTES) / (peak - imported) < 2
