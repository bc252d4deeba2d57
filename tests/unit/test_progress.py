"""What ``studio run`` shows while it waits, and its tables at the end."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from app.progress import StudyProgress, describe, doing, duration, seconds_left, share_done
from app.result_table import (
    average_lines,
    gains_table,
    results_table,
    seeds_table,
    split_shown,
)
from core.states import RunState
from core.store.views import ComparisonRow, RunRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUED = RunRow(
    id="r1", study_id="s", study_number=3, study_name="name", is_demo=False, ordinal=1, task="cb",
    backbone="minilm", regime="full data", method_kind="prompt_tuning",
    method_label="prompt_tuning", config_hash="h", data_seed=0, init_seed=0, role="final",
    priority=0, state=RunState.QUEUED, phase="", last_step=0, total_steps=0, seconds_per_step=0.0,
    group_size=1, attempt=0, worker_id=None, not_before=None, exit_kind="", exit_detail="",
    num_trainable={}, dev={}, flags=(), created_at=NOW, started_at=None, ended_at=None,
)  # fmt: skip
RUNNING = replace(QUEUED, id="r2", state=RunState.RUNNING, last_step=30, total_steps=120)
DONE = replace(
    QUEUED, id="r3", state=RunState.SUCCEEDED, dev={"accuracy": 0.714}, flags=("at chance",)
)
FAILED = replace(QUEUED, id="r4", state=RunState.FAILED, exit_detail="The loss became NaN.")

RESULT = {
    "dev": {"accuracy": 0.75, "macro_f1": 0.5},
    "test": {"accuracy": 0.625, "macro_f1": 0.4},
    "majority": {"dev": 0.5, "test": 0.5},
    "updates": 1200,
    "num_trainable": {"prompt": 7680, "head": 1155},
    "cpu_seconds": 31.4,
    "flags": ["still rising"],
}
COMPARED = ComparisonRow(
    run_id="r1", study_id="s", study_number=3, study_name="name", is_demo=False, slug="S3-1",
    task="cb", backbone="minilm", regime="full data", method_kind="prompt_tuning",
    method_label="prompt_tuning", config_hash="h", data_seed=0, init_seed=0, role="final",
    state=RunState.SUCCEEDED, protocol="fixed", is_test_open=True, test_openings=0,
    num_trainable={"prompt": 7680}, result=RESULT,
)  # fmt: skip


def shown(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_paper_practice_is_said_beside_the_numbers() -> None:
    assert "paper practice" not in shown(results_table([COMPARED], {}))
    paper = replace(COMPARED, selection="paper_practice")
    assert "paper practice" in shown(results_table([paper], {}))


def test_ended_runs_count_as_done_and_running_ones_by_their_step() -> None:
    assert share_done([QUEUED, RUNNING, DONE, FAILED]) == pytest.approx((0 + 0.25 + 1 + 1) / 4)
    assert share_done([]) == 0.0


def test_the_rest_is_expected_to_go_at_the_same_pace() -> None:
    assert seconds_left(0.25, 30.0) == pytest.approx(90.0)
    assert seconds_left(0.0, 30.0) is None


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3675.4, "1:01:15")])
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_trained_now_is_named_once_with_its_update() -> None:
    assert doing([QUEUED]) == "waiting for the worker"
    assert doing([RUNNING, RUNNING, QUEUED]) == "prompt_tuning ×2: update 30 of 120"
    assert doing([DONE]) == "finishing"


def test_an_end_is_told_with_its_number_or_its_reason() -> None:
    assert describe(DONE) == "succeeded, dev accuracy 71.4 (at chance)"
    assert describe(FAILED) == "failed: The loss became NaN."


def test_without_a_terminal_each_change_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=100)
    with StudyProgress(console, 1) as progress:
        progress.show([QUEUED])
        progress.show([replace(RUNNING, id="r1")])
        progress.show([replace(RUNNING, id="r1", last_step=60)])
        progress.show([replace(DONE, id="r1")])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2
    assert "running" in lines[0]
    assert "succeeded, dev accuracy 71.4" in lines[1]


def test_runs_on_several_backbones_are_told_apart() -> None:
    other = replace(RUNNING, id="r5", ordinal=2, backbone="deberta")
    assert doing([RUNNING, other]) == (
        "prompt_tuning (minilm), prompt_tuning (deberta): update 30 of 120"
    )
    console = Console(file=io.StringIO(), width=100)
    with StudyProgress(console, 2) as progress:
        progress.show([replace(RUNNING, id="r1"), other])
    first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.endswith("S3-1 prompt_tuning (minilm) on cb: running")
    assert second.endswith("S3-2 prompt_tuning (deberta) on cb: running")
    text = shown(results_table([COMPARED, replace(COMPARED, slug="S3-2", backbone="deberta")], {}))
    assert "minilm" in text
    assert "deberta" in text


def test_the_table_holds_everything_a_reader_asks_for() -> None:
    text = shown(results_table([COMPARED], {}))
    for part in ("Results on test", "62.5", "40.0", "50.0", "1,200", "8,835", "31", "still rising"):
        assert part in text


def test_a_sealed_test_shows_dev() -> None:
    sealed = replace(COMPARED, is_test_open=False, result={**RESULT, "test": None})
    assert split_shown([COMPARED, sealed]) == "dev"
    text = shown(results_table([sealed], {}))
    assert "Results on dev" in text
    assert "75.0" in text


def test_a_failed_run_keeps_its_line_with_the_reason() -> None:
    failed = replace(COMPARED, run_id="r4", state=RunState.FAILED, result={})
    text = shown(results_table([COMPARED, failed], {"r4": "The loss became NaN."}))
    assert "The loss became NaN." in text


def test_means_over_seeds_appear_when_there_are_seeds() -> None:
    assert seeds_table([COMPARED]) is None
    second = replace(
        COMPARED, run_id="r5", init_seed=1, result={**RESULT, "test": {"accuracy": 0.675}}
    )
    means = seeds_table([COMPARED, second])
    assert means is not None
    assert "65.0 ± 3.5 (2)" in shown(means)


def in_task(accuracy: float) -> dict[str, object]:
    numbers = {"accuracy": accuracy}
    return {"dev": numbers, "test": numbers, "majority": {"test": 0.5}, "flags": []}


def test_a_joint_run_has_a_line_for_each_task_and_is_set_beside_its_control() -> None:
    mean = {"joint_mean": 0.7}
    tasks = {"cb": in_task(0.8), "rte": in_task(0.6)}
    rows = [
        replace(
            COMPARED, run_id=f"j{seed}", slug=f"S3-{seed}", task="cb+rte", init_seed=seed,
            regime="multi_task (uniform)", result={"dev": mean, "test": mean, "tasks": tasks},
        )
        for seed in (0, 1)
    ]  # fmt: skip
    text = shown(results_table(rows, {}))
    assert [("S3-1" in line, "cb" in line, "80.0" in line) for line in text.splitlines()].count(
        (True, True, True)
    ) == 1
    assert "60.0" in text
    control = [
        replace(
            COMPARED, run_id=f"c{seed}", task="cb", regime="single-task control (uniform)",
            init_seed=seed, result=in_task(0.75),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    gains = gains_table([*rows, *control])
    assert gains is not None
    (line,) = [line for line in shown(gains).splitlines() if "cb" in line]
    for part in ("80.0", "75.0", "+5.0"):
        assert part in line
    assert gains_table(control) is None
    both = [*rows, *control, *(replace(row, backbone="deberta") for row in [*rows, *control])]
    two = gains_table(both)
    assert two is not None
    assert all(name in shown(two) for name in ("cb, minilm", "cb, deberta"))


def test_averages_are_said_with_their_reason() -> None:
    most = [replace(COMPARED, task=name) for name in ("boolq", "cb", "rte", "wic", "wsc")]
    official, paper = average_lines(most)
    assert official.startswith("SuperGLUE average on test, prompt_tuning, full data: no number")
    assert "copa, multirc and record are missing" in official
    assert "multirc is missing" in paper
    assert average_lines(most[:2]) == []
    other = [replace(row, backbone="deberta") for row in most]
    assert "prompt_tuning, deberta, full data: no number" in " ".join(average_lines(most + other))


def test_how_checkpoints_were_chosen_is_said_where_it_was_not_dev() -> None:
    assert "five folds" in shown(results_table([replace(COMPARED, selection="refit")], {}))
