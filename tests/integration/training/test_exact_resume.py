"""A run that is killed again and again and continued ends as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.recipe import RunConfig
from tests.broken_runs import Log, Trainer, break_run, compare, fingerprint, trainer
from tests.training_tools import run_config, write_task

METHODS = ("prompt_tuning", "adap_ins_pos", "adap_ins_vec_pos", "p_tuning_v2", "fine_tuning")
STAGED = {"kind": "adap_pos_ins_vec", "stages": "two_stage"}
AUTHORED = {"kind": "adap_ins_vec_pos", "behaviour": "paper_code"}
WITH_DROPOUT = {"fine_tuning", "adap_ins_pos"}
KILLS = 5
SEED = 20261123
RESULTS = Path(__file__).parents[2] / "bench" / "results" / "exact-resume.json"
POINTS = (
    "checkpoint.begin",
    "checkpoint.written",
    "checkpoint.synced",
    "checkpoint.renamed",
    "evaluation.final",
    "results.written",
)
Make = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def process() -> Iterator[Trainer]:
    with trainer() as found:
        yield found


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_killed_five_times_ends_as_an_unbroken_one(
    method: str, configure: Make, process: Trainer, tmp_path: Path
) -> None:
    total = 24
    config = configure(
        method,
        max_updates=total,
        evaluations=3,
        weight_decay=0.01,
        backbone_dropout=method in WITH_DROPOUT,
        audit=method == "adap_ins_pos",
    )
    whole = process.attempt(config, tmp_path / "whole")
    broken = break_run(
        process,
        config,
        tmp_path / "broken",
        total,
        num_kills=KILLS,
        seed=SEED + METHODS.index(method),
        every=3,
        longest_wait=0.01,
    )
    compare(broken, whole)
    assert len(broken.attempts) == KILLS + 1
    assert not any(log.notices for log in broken.attempts)


@pytest.mark.parametrize("method", [STAGED, AUTHORED], ids=["two_stage", "paper_code"])
def test_a_killed_run_finds_its_stage_and_its_draws_again(
    method: dict[str, str], configure: Make, process: Trainer, tmp_path: Path
) -> None:
    config = configure(method, max_updates=12, evaluations=4, weight_decay=0.01)
    whole = process.attempt(config, tmp_path / "whole")
    places = {"num_kills": 2, "seed": SEED, "every": 2, "longest_wait": 0.01}
    compare(break_run(process, config, tmp_path / "broken", 12, **places), whole)


def test_dropout_makes_a_difference_that_a_continued_run_repeats(
    configure: Make, process: Trainer, tmp_path: Path
) -> None:
    found = [
        process.attempt(configure("fine_tuning", backbone_dropout=dropout), tmp_path / f"{dropout}")
        for dropout in (False, True)
    ]
    assert found[0].losses != found[1].losses


@pytest.fixture(scope="module")
def unbroken(task: Path, tiny: dict[str, str], tmp_path_factory: Any, process: Trainer) -> Log:
    config = run_config("adap_ins_vec_pos", task=task, backbone=tiny)
    return process.attempt(config, tmp_path_factory.mktemp("unbroken") / "run", every=2)


@pytest.mark.parametrize("fault", ["kill", "full", "stall"])
@pytest.mark.parametrize("point", POINTS)
def test_at_every_point_the_old_or_the_new_checkpoint_is_left(
    point: str, fault: str, unbroken: Log, configure: Make, process: Trainer, tmp_path: Path
) -> None:
    config = configure("adap_ins_vec_pos")
    passes = 2 if point.startswith("checkpoint") else 1
    job = {"point": point, "fault": fault, "passes": passes}
    broken = process.attempt(config, tmp_path / "broken", every=2, **job)
    wanted = fingerprint(unbroken, unbroken.checkpoints)
    if fault == "stall":
        assert fingerprint(broken, broken.checkpoints) == wanted
        return
    files = tmp_path / "broken" / "files"
    if fault == "kill":
        assert (broken.code, broken.ended) == (-9, {})
    else:
        kind = "evaluation" if point == "evaluation.final" else "disk_full"
        assert (broken.ended["outcome"], broken.ended["reason"]) == ("failed", kind)
        assert {path.name for path in files.iterdir()} == {"checkpoints"}
        assert not list(files.rglob(".*"))
    on_disk = sorted((files / "checkpoints").glob("step-*"))
    assert len(on_disk) >= len(broken.checkpoints) >= 1
    starts = {broken.checkpoints[-1][1], on_disk[-1]}
    for index, start in enumerate(sorted(starts)):
        again = process.attempt(config, tmp_path / f"again{index}", start, every=2)
        assert fingerprint(again, [*broken.checkpoints, *again.checkpoints]) == wanted
        for step, loss in again.losses.items():
            assert loss == unbroken.losses[step]
        if not point.startswith("checkpoint"):
            assert not again.losses


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", METHODS)
def test_on_minilm_no_bit_is_lost_by_five_kills(method: str, tmp_path: Path) -> None:
    """The broken run has an interpreter of its own, and each attempt a process of its own."""
    total, every, seed = 60, 7, SEED + METHODS.index(method)
    config = run_config(
        method,
        task=write_task(tmp_path / "task", train=240, val=60, test=90),
        backbone={"name": "minilm"},
        max_updates=total,
        evaluations=4,
        weight_decay=0.01,
        backbone_dropout=method in WITH_DROPOUT,
    )
    with trainer() as process:
        whole = process.attempt(config, tmp_path / "whole", every=every)
    with trainer() as process:
        broken = break_run(
            process,
            config,
            tmp_path / "broken",
            total,
            num_kills=KILLS,
            seed=seed,
            every=every,
            longest_wait=0.3,
        )
    equal = compare(broken, whole)
    result = whole.ended["result"]
    write_result(
        method,
        result["environment"],
        {
            "seed": seed,
            "steps": total,
            "killed_at_step": broken.kills,
            "continued_from_step": [log.first_step - 1 for log in broken.attempts[1:]],
            "dropout": method in WITH_DROPOUT,
            **equal,
            "equal_besides": ["weights", "moments", "predictions", "dev", "test", "passes"],
            "dev": result["dev"],
            "test": result["test"],
        },
    )


def write_result(method: str, environment: dict[str, Any], found: dict[str, Any]) -> None:
    """Put one method's figures into the committed results."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    content = {
        "claim": "what a run tells and leaves equals an unbroken run's, bit for bit",
        "backbone": "minilm",
        "kills_a_run": KILLS,
        **{name: environment[name] for name in ("device", "threads", "packages")},
        "methods": {**known.get("methods", {}), method: found},
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
