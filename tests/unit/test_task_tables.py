"""Tables over tasks: joint runs beside single ones, official scores, and the two averages."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.regimes.multi_task import Config as MultiTask
from core.statistics.averages import PAPER, SUPERGLUE, Average, averages
from core.statistics.export import to_csv, to_markdown
from core.statistics.multi_task import CONTROL, gains
from core.statistics.parts import OFFICIAL, PRIMARY, parts_of
from core.statistics.table import Column, build_table
from core.tasks import TASKS

JOINT, ALONE = MultiTask().label, MultiTask(role="single").label


@dataclass(frozen=True)
class Run:
    """A run as the store gives it."""

    task: str = "rte"
    result: Mapping[str, Any] | None = field(default_factory=dict)
    regime: str = "full_data"
    data_seed: int = 0
    init_seed: int = 0
    method_label: str = "prompt_tuning"
    study_id: str = "one"
    backbone: str = "minilm"
    config_hash: str = ""
    role: str = "final"
    state: str = "succeeded"
    selection: str = "dev"
    apart: str = ""
    num_trainable: Mapping[str, int] = field(default_factory=lambda: {"prompt": 100})
    method_kind: str = "prompt_tuning"

    @property
    def run_id(self) -> str:
        """Readable identifier."""
        return f"{self.study_id}-{self.task}-{self.regime}-{self.data_seed}-{self.init_seed}"


def scored(test: Mapping[str, float], count: int = 0, **more: Any) -> dict[str, Any]:
    """Result of one task."""
    return {
        "dev": dict(test),
        "test": dict(test),
        "majority": {"dev": 0.5, "test": 0.5},
        "counts": {"test": count} if count else {},
        "flags": [],
        **more,
    }


def joint(values: Mapping[str, float], seed: int = 0, **more: Any) -> Run:
    """A joint run with an accuracy a task."""
    tasks = {name: scored({"accuracy": value}) for name, value in values.items()}
    mean = {"joint_mean": sum(values.values()) / len(values)}
    result = {"dev": mean, "test": mean, "tasks": tasks}
    return Run("+".join(values), result, JOINT, init_seed=seed, **more)


def alone(task: str, value: float, seed: int = 0, **more: Any) -> Run:
    """The control of a joint run."""
    return Run(task, scored({"accuracy": value}), ALONE, init_seed=seed, **more)


# ---- joint runs


def test_a_joint_run_has_a_cell_for_each_task_beside_single_ones() -> None:
    runs = [
        joint({"cb": 0.8, "rte": 0.6}),
        joint({"cb": 0.9, "rte": 0.7}, seed=1),
        alone("cb", 0.7),
        Run("rte", scored({"accuracy": 0.65})),
    ]
    table = build_table(runs, metric="accuracy", split="test")
    titles = [(column.task, column.regime) for column in table.columns]
    assert titles == [("cb", JOINT), ("cb", ALONE), ("rte", JOINT), ("rte", "full_data")]
    (row,) = table.rows
    assert [cell.summary.mean for cell in row.cells.values()] == pytest.approx(
        [0.85, 0.7, 0.65, 0.65]
    )
    assert row.num_trainable == (100,)
    assert "joint_mean" not in {name for part in parts_of(runs) for name in part.metrics}


def test_a_joint_run_that_has_not_ended_waits_in_each_of_its_tasks() -> None:
    running = Run("cb+rte", None, JOINT, state="running")
    failed = Run("cb+rte", None, JOINT, init_seed=1, state="failed")
    (row,) = build_table([running, failed]).rows
    assert [(c.waiting, c.failed, c.ended) for c in row.cells.values()] == [(1, 1, 1)] * 2


def test_a_row_names_all_counts_of_parameters_and_a_cell_those_of_its_runs() -> None:
    runs = [
        joint({"cb": 0.8, "rte": 0.6}, num_trainable={"prompt": 100, "head": 50}),
        alone("cb", 0.7, num_trainable={"prompt": 100, "head": 20}),
        alone("rte", 0.7, num_trainable={"prompt": 100, "head": 20}),
    ]
    table = build_table(runs)
    (row,) = table.rows
    assert row.num_trainable == (120, 150)
    counts = {(c.task, c.regime): list(cell.trainable.values()) for c, cell in row.cells.items()}
    assert counts == {
        ("cb", JOINT): [150], ("cb", ALONE): [120], ("rte", JOINT): [150], ("rte", ALONE): [120],
    }  # fmt: skip
    lines = csv.DictReader(io.StringIO(to_csv(table)))
    assert {line["trainable_parameters"] for line in lines} == {"120", "150"}


def test_flags_of_one_task_do_not_count_against_another() -> None:
    tasks = {"cb": scored({"accuracy": 0.5}, flags=["collapsed"]), "rte": scored({"accuracy": 0.7})}
    run = Run("cb+rte", {"dev": {}, "flags": ["collapsed"], "tasks": tasks}, JOINT)
    (row,) = build_table([run]).rows
    assert [cell.flagged for cell in row.cells.values()] == [1, 0]


def test_joint_runs_of_other_partners_stand_in_columns_of_their_own() -> None:
    runs = [joint({"cb": 0.8, "rte": 0.6}), joint({"cb": 0.5, "wic": 0.6}, study_id="two")]
    table = build_table(runs)
    cb = [column for column in table.columns if column.task == "cb"]
    assert [column.trained_on for column in cb] == ["cb+rte", "cb+wic"]
    head = to_markdown(table).splitlines()[0]
    assert "cb+rte" in head
    assert "cb+wic" in head


def test_a_filter_of_tasks_keeps_the_other_tasks_of_a_joint_run_out() -> None:
    table = build_table([joint({"cb": 0.8, "rte": 0.6})], tasks=("rte",))
    assert [column.task for column in table.columns] == ["rte"]


# ---- joint against control


@pytest.mark.parametrize("max_train", [None, 400])
def test_what_tasks_have_of_their_own_leaves_the_control_the_same(max_train: int | None) -> None:
    regime = MultiTask(own=("vectors", "position"), max_train=max_train)
    run = replace(joint({"cb": 0.8, "rte": 0.6}), regime=regime.label)
    control = replace(alone("cb", 0.7), regime=regime.as_single().label)
    other = replace(alone("rte", 0.1), regime=MultiTask(sampling="uniform").as_single().label)
    cb, rte = gains([run, control, other], metric="accuracy", split="test")
    assert (cb.control.n, cb.pair.difference.mean) == (1, pytest.approx(0.1))
    assert rte.control.n == 0


def test_a_gain_is_joint_minus_control_paired_by_seed() -> None:
    runs = [joint({"cb": 0.80 + 0.01 * s, "rte": 0.6}, seed=s) for s in range(3)]
    runs += [alone("cb", 0.75 + 0.02 * s, seed=s) for s in range(3)]
    runs += [alone("rte", 0.62, seed=s) for s in (0, 9)]
    cb, rte = gains(runs, metric="accuracy", split="test")
    assert (cb.column.task, cb.pair.difference.n) == ("cb", 3)
    # 0.05, 0.04, 0.03; 4.302653 * 0.01 / sqrt(3) around 0.04
    assert cb.pair.difference.mean == pytest.approx(0.04)
    assert cb.pair.interval.low == pytest.approx(0.04 - 0.024841, abs=1e-5)
    assert (rte.pair.difference.n, rte.control.n) == (1, 2)
    assert rte.pair.difference.mean == pytest.approx(-0.02)


def test_a_control_of_another_study_or_sampling_is_no_control() -> None:
    other = MultiTask(role="single", sampling="uniform").label
    runs = [
        joint({"cb": 0.8, "rte": 0.6}),
        alone("cb", 0.7, study_id="two"),
        Run("cb", scored({"accuracy": 0.7}), other),
        Run("cb", scored({"accuracy": 0.7}), "full_data"),
    ]
    found = gains(runs, metric="accuracy", split="test")
    assert [(gain.control.n, gain.pair.difference.n) for gain in found] == [(0, 0), (0, 0)]
    assert math.isnan(found[0].pair.difference.mean)


def test_controls_are_known_by_the_label_of_their_regime() -> None:
    settings: list[dict[str, Any]] = [{}, {"sampling": "uniform"}, {"own": ("position",)}]
    for more in settings:
        single, together = MultiTask(role="single", **more), MultiTask(**more)
        assert single.label.startswith(f"{CONTROL} (")
        pair = [
            Run("cb+rte", joint({"cb": 0.8, "rte": 0.6}).result, together.label),
            replace(alone("cb", 0.7), regime=single.label),
        ]
        gain = next(one for one in gains(pair, metric="accuracy", split="test"))
        assert gain.pair.difference.mean == pytest.approx(0.1)


# ---- what a column shows


def test_primary_and_official_are_each_tasks_own() -> None:
    runs = [
        Run("multirc", scored({"accuracy": 0.7, "f1a": 0.6, "exact_match": 0.2})),
        Run("cb", scored({"accuracy": 0.9, "macro_f1": 0.7})),
        Run("record", scored({"record_f1": 0.5, "record_em": 0.4})),
        Run("desk", scored({"accuracy": 0.55, "macro_f1": 0.5})),
    ]
    means = {
        metric: [
            cell.summary.mean
            for row in build_table(runs, metric=metric, split="test").rows
            for cell in row.cells.values()
        ]
        for metric in (PRIMARY, OFFICIAL)
    }
    assert means[PRIMARY] == pytest.approx([0.7, 0.9, 0.5, 0.55])
    assert means[OFFICIAL] == pytest.approx([0.4, 0.8, 0.45, 0.55])
    text = to_markdown(build_table(runs, metric=OFFICIAL, split="test"))
    assert "mean of F1a and exact match: multirc" in text
    assert "accuracy: desk" in text


def test_the_majority_line_stands_under_accuracy_alone() -> None:
    run = Run("cb", scored({"accuracy": 0.9, "macro_f1": 0.7}))
    column = Column("cb", "minilm", "full_data")
    assert build_table([run], metric="accuracy").majority[column] == 0.5
    assert math.isnan(build_table([run], metric="macro_f1").majority[column])


def test_unlike_metrics_have_no_average_column() -> None:
    runs = [
        Run("rte", scored({"accuracy": 0.7})),
        Run("record", scored({"record_f1": 0.5, "record_em": 0.4})),
    ]
    (row,) = build_table(runs, metric=PRIMARY).rows
    assert math.isnan(row.average)
    (row,) = build_table([runs[0], Run("wic", scored({"accuracy": 0.5}))], metric=PRIMARY).rows
    assert row.average == pytest.approx(0.6)


def test_extra_sets_come_on_request_behind_the_tasks_and_stay_out_of_the_average() -> None:
    extra = {"ax-b": {"matthews": -0.1, "accuracy": 0.6}, "ax-g": {"gender_parity": 0.95}}
    runs = [
        Run("rte", scored({"accuracy": 0.7}, extra=extra) | {"counts": {"ax-b": 1104}}),
        Run("wic", scored({"accuracy": 0.6})),
    ]
    assert len(build_table(runs, split="test").columns) == 2
    table = build_table(runs, metric=PRIMARY, split="test", extra=True)
    assert [column.task for column in table.columns] == ["rte", "wic", "ax-b", "ax-g"]
    assert [table.counts[column] for column in table.columns[2:]] == [1104, 0]
    (row,) = table.rows
    assert row.cells[table.columns[2]].summary.mean == pytest.approx(-0.1)
    assert row.average == pytest.approx(0.65)
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [(line["task"], line["trained_on"], line["metric"]) for line in lines[1:3]] == [
        ("wic", "wic", "accuracy"),
        ("ax-b", "rte", "Matthews correlation"),
    ]
    assert "-10.0" in to_markdown(table)
    filtered = build_table(runs, split="test", tasks=("wic",), extra=True)
    assert [column.task for column in filtered.columns] == ["wic"]


@pytest.mark.parametrize(
    ("selection", "said"),
    [("fold", "one fold of train"), ("refit", "the mean over five folds of train")],
)
def test_the_caption_names_what_was_chosen_on(selection: str, said: str) -> None:
    run = Run("cb", scored({"accuracy": 0.9}), selection=selection)
    assert said in to_markdown(build_table([run]))
    mixed = to_markdown(build_table([run, Run("cb", scored({"accuracy": 0.9}))]))
    assert "chosen on dev" in mixed
    assert said in mixed


# ---- averages

EIGHT = {
    "boolq": {"accuracy": 0.8},
    "cb": {"accuracy": 0.9, "macro_f1": 0.7},
    "copa": {"accuracy": 0.6},
    "multirc": {"accuracy": 0.7, "f1a": 0.6, "exact_match": 0.2},
    "record": {"record_f1": 0.5, "record_em": 0.4},
    "rte": {"accuracy": 0.7},
    "wic": {"accuracy": 0.65},
    "wsc": {"accuracy": 0.6},
}


def suite(*without: str, shift: float = 0.0, **more: Any) -> list[Run]:
    """One run of each task, its test of the official size."""
    return [
        Run(
            task,
            scored(
                {name: value + shift for name, value in numbers.items()}, TASKS[task].counts["val"]
            ),
            **more,
        )
        for task, numbers in EIGHT.items()
        if task not in without
    ]


def of_kind(found: Sequence[Average], name: str) -> list[Average]:
    return [average for average in found if average.kind.name == name]


def test_the_official_average_is_over_per_task_means_and_the_papers_over_five_accuracies() -> None:
    found = averages(suite(), "test")
    (official,) = of_kind(found, "superglue")
    (paper,) = of_kind(found, "paper")
    # Per task: 0.8, 0.8, 0.6, 0.4, 0.45, 0.7, 0.65, 0.6
    assert official.summary.mean == pytest.approx(5.0 / 8)
    # BoolQ 0.8, MultiRC 0.7, WiC 0.65, CB 0.9, RTE 0.7
    assert paper.summary.mean == pytest.approx(3.75 / 5)
    assert (official.reason, paper.reason) == ("", "")


def test_seven_tasks_give_no_official_number_but_the_papers_one() -> None:
    found = averages(suite("record"), "test")
    (official,) = of_kind(found, "superglue")
    assert official.summary.n == 0
    assert official.reason == "record is missing"
    (paper,) = of_kind(found, "paper")
    assert paper.summary.mean == pytest.approx(0.75)


@pytest.mark.parametrize(("count", "is_told"), [(4, False), (5, True)])
def test_averages_are_told_of_settings_with_most_of_superglue(count: int, is_told: bool) -> None:
    left_out = list(EIGHT)[count:]
    assert bool(averages(suite(*left_out), "test")) is is_told


def test_a_derived_set_never_stands_for_the_official_one() -> None:
    runs = [*suite("boolq"), Run("boolq-devsplit", scored({"accuracy": 0.9}, 968))]
    for average in averages(runs, "test"):
        assert average.summary.n == 0
        assert average.reason.startswith("boolq is missing; boolq-devsplit never counts")


def test_an_official_task_measured_on_other_files_gives_no_number() -> None:
    runs = [*suite("boolq"), Run("boolq", scored({"accuracy": 0.9}, 968))]
    (official,) = of_kind(averages(runs, "test"), "superglue")
    assert official.reason == "boolq was measured on 968 examples, officially 3,270"


def test_a_task_whose_runs_all_failed_is_named() -> None:
    runs = [*suite("cb", "wsc"), *(Run(name, None, state="failed") for name in ("cb", "wsc"))]
    (official,) = of_kind(averages(runs, "test"), "superglue")
    assert official.reason == "no number yet for cb and wsc"


def test_seeds_are_averaged_over_those_that_have_every_task() -> None:
    runs = suite() + suite(shift=0.1, init_seed=1) + suite("wsc", shift=0.2, init_seed=2)
    (official,) = of_kind(averages(runs, "test"), "superglue")
    assert official.summary == pytest.approx((0.675, 0.1 / math.sqrt(2), 2))
    assert official.reason == "only 2 of 3 seeds have a number for every task"
    (paper,) = of_kind(averages(runs, "test"), "paper")
    assert (paper.summary.n, paper.reason) == (3, "")


def test_regimes_and_ways_of_choosing_are_never_mixed_in_an_average() -> None:
    others = suite("boolq", "multirc", "record", regime="few_shot (k = 32)")
    runs = [*suite("cb"), *others]
    found = of_kind(averages(runs, "test"), "paper")
    assert {average.setting[1]: average.reason for average in found} == {
        "full_data": "cb is missing",
        "few_shot (k = 32)": "boolq and multirc are missing",
    }


def test_tasks_outside_both_suites_have_no_average_at_all() -> None:
    assert averages([Run("desk", scored({"accuracy": 0.9}))], "test") == []


def test_the_averages_know_their_tasks() -> None:
    official = {name for name, spec in TASKS.items() if spec.official}
    assert set(SUPERGLUE.tasks) == official
    assert set(PAPER.tasks) < official
