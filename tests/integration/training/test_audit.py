"""The audit of a run's choices: every row of its table against literal loops over told choices."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.methods._module import Choice, ChoosingMethod
from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.statistics.audit import permutations, random_choices
from core.training import audit as audits
from core.training import loop
from core.training.audit import Audit, audit
from core.training.audit_parts import Subject
from core.training.batches import to_tokens
from core.training.group import Member, WarmBackbones, prepare, train_group
from core.training.launch import Rows, launch
from core.training.run import TrainingRun
from tests.method_tools import shake
from tests.training_tools import Recorder, digest, succeeded, train

Make = Callable[..., RunConfig]
SHORT = {"num_virtual_tokens": 3}
CUTS = {"kind": "adap_ins_pos", **SHORT}
SLOTS = {"kind": "adap_ins_pos", "place": "slot", "selection": "exact", **SHORT}
POOL = {"kind": "adap_ins_vec", "pool_size": 3, **SHORT}


def prepared(config: RunConfig, folder: Path, warm: WarmBackbones) -> TrainingRun:
    """A run whose selector chooses differently for different texts."""
    run = prepare(Member("r", config, folder), warm.for_run(config), ())
    shake(run.model.part().method)
    with torch.no_grad():
        run.model.part().head.weight.normal_(generator=torch.Generator().manual_seed(3))
    return run


def audited(run: TrainingRun) -> list[dict[str, Any]]:
    found = audit(run.config, run.parts, run.warm)
    assert found is not None
    return found.entries


def rows_of(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in entry["rows"] if row["row"] == name]


def value(entry: dict[str, Any], name: str, metric: str = "accuracy") -> float:
    (row,) = rows_of(entry, name)
    return float(row["metrics"][metric])


def kept_scores(run: TrainingRun) -> dict[str, np.ndarray]:
    """Scores of each told choice, shape (dev, classes), from the table that is written."""
    found = audit(run.config, run.parts, run.warm)
    assert found is not None
    table = found.table()
    assert table is not None
    by_told: dict[str, dict[int, list[float]]] = {}
    for row in table.to_pylist():
        by_told.setdefault(row["told"], {})[row["index"]] = row["scores"]
    return {told: np.array([of[i] for i in range(len(of))]) for told, of in by_told.items()}


def share_right(run: TrainingRun, logits: list[np.ndarray]) -> float:
    labels = [example.label for example in run.parts["own"].examples("dev")]
    hits = [int(np.argmax(row)) == label for row, label in zip(logits, labels, strict=True)]
    return sum(hits) / len(hits)


@pytest.mark.parametrize(
    "method", [CUTS, pytest.param(SLOTS, marks=pytest.mark.full)], ids=["cut", "slot"]
)
def test_every_row_of_the_table_by_literal_loops(
    configure: Make, tmp_path: Path, warm: WarmBackbones, method: dict[str, Any]
) -> None:
    run = prepared(configure(method), tmp_path, warm)
    (entry,) = audited(run)
    names = list(run.config.method.choice_names[entry["axis"]])
    scores = kept_scores(run)
    assert list(scores) == entry["names"] == names
    method_of_run, dev = run.model.part().method, run.parts["own"].splits["dev"]
    from_scoring = Subject(
        run.warm.backbone, run.model.part(), method_of_run, dev, run.read_out,
        run.feature("own", "dev"), lambda rows: False,
    )  # fmt: skip
    chosen = from_scoring.own()[entry["axis"]]
    own, shares = chosen.taken.tolist(), chosen.shares.tolist()
    count, table = len(own), [scores[name] for name in names]
    assert len(set(own)) > 1, "all texts chose alike, nothing would be tested"

    assert value(entry, "own") == share_right(run, [table[own[i]][i] for i in range(count)])
    mixtures = [
        sum(shares[i][c] * torch.tensor(table[c][i]).softmax(0).numpy() for c in range(len(names)))
        for i in range(count)
    ]
    assert value(entry, "mixture") == share_right(run, mixtures)
    assert rows_of(entry, "mixture")[0]["passes"] == len(names)
    (most,) = rows_of(entry, "modal")
    assert Counter(own)[most["choice"]] == max(Counter(own).values())
    assert most["metrics"]["accuracy"] == share_right(run, list(table[most["choice"]]))
    shuffles = [
        share_right(run, [table[own[order[i]]][i] for i in range(count)])
        for order in permutations(count)
    ]
    assert value(entry, "shuffled") == pytest.approx(sum(shuffles) / len(shuffles))
    draws = [
        share_right(run, [table[drawn[i]][i] for i in range(count)])
        for drawn in random_choices(count, len(names))
    ]
    assert value(entry, "uniform") == pytest.approx(sum(draws) / len(draws))
    fixed = [share_right(run, list(scores)) for scores in table]
    assert [row["metrics"]["accuracy"] for row in rows_of(entry, "fixed")] == fixed
    assert value(entry, "best_fixed") == max(fixed)
    labels = [example.label for example in run.parts["own"].examples("dev")]
    some_right = [
        any(int(np.argmax(scores[i])) == labels[i] for scores in table) for i in range(count)
    ]
    assert value(entry, "best_each") == sum(some_right) / count
    assert {gain["over"] for gain in entry["gains"]} == {"modal", "shuffled"}
    for gain in entry["gains"]:
        difference = value(entry, "own") - value(entry, gain["over"])
        assert gain["value"] == pytest.approx(difference)
        assert gain["low"] <= gain["value"] <= gain["high"]
    by_class = [[0] * len(names) for _ in entry["classes"]]
    for label, choice in zip(labels, own, strict=True):
        by_class[label][choice] += 1
    assert entry["by_class"] == by_class


@pytest.mark.parametrize("shortest", [0, 1])
def test_a_told_length_is_the_number_of_vectors_that_its_name_says(
    configure: Make, tmp_path: Path, warm: WarmBackbones, shortest: int
) -> None:
    method = {"kind": "adap_ins_len", "shortest": shortest, **SHORT}
    run = prepared(configure(method), tmp_path, warm)
    (entry,) = audited(run)
    assert entry["names"] == [str(length) for length in range(shortest, 4)]
    scores, part, dev = kept_scores(run), run.model.part(), run.parts["own"].splits["dev"]
    feature = run.feature("own", "dev")
    assert isinstance(part.method, ChoosingMethod)
    for chunk in dev.chunks:
        batch = to_tokens(dev.tokens, chunk.rows, chunk.length, run.warm.backbone.device, feature)
        for name in entry["names"]:
            told = Choice(length=torch.full((len(chunk.rows),), int(name)))
            with torch.inference_mode():
                inputs = part.method.adapt_with(batch, told)
                (literal,) = launch(run.warm.backbone, [Rows(part, inputs, run.read_out)])
            assert np.array_equal(scores[name][chunk.rows], literal.numpy())
    used = Counter(r for row in entry["by_class"] for r, n in enumerate(row) for _ in range(n))
    assert len(used) > 1, "all texts chose alike, nothing would be tested"


def test_mixtures_of_a_pool_are_passes_of_their_own(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    run = prepared(configure(POOL), tmp_path, warm)
    (entry,) = audited(run)
    scores = kept_scores(run)
    assert list(scores)[:6] == ["0", "1", "2", "own", "mean", "uniform"]
    for name, told in (("own", "own"), ("mean", "mean"), ("uniform", "uniform")):
        assert value(entry, name) == share_right(run, list(scores[told]))
    shuffled = [share_right(run, list(scores[f"shuffled {i}"])) for i in range(8)]
    assert value(entry, "shuffled") == pytest.approx(np.mean(shuffled))
    singles = [share_right(run, list(scores[name])) for name in "012"]
    assert [row["metrics"]["accuracy"] for row in rows_of(entry, "fixed")] == singles
    assert not np.array_equal(scores["own"], scores["mean"])


@pytest.mark.parametrize("method", [CUTS, SLOTS, POOL, {**CUTS, "length": "instance"}])
def test_a_selector_that_does_not_see_its_input_gains_exactly_nothing(
    configure: Make, tmp_path: Path, warm: WarmBackbones, method: dict[str, Any]
) -> None:
    run = prepared(configure(method), tmp_path, warm)
    with torch.no_grad():
        for name, tensor in run.model.part().method.named_parameters():
            if name.endswith("linear.weight") or name == "pool_selector.weight":
                tensor.zero_()
    for entry in audited(run):
        (gain,) = [gain for gain in entry["gains"] if gain["over"] == "shuffled"]
        assert (gain["value"], gain["low"], gain["high"]) == (0.0, 0.0, 0.0)
        assert value(entry, "own") == value(entry, "shuffled")
        assert entry["information"]["nats"] == 0.0
        assert entry["information"]["p"] == 1.0


def test_a_finished_run_tells_its_audit_and_nothing_else_changes(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    method = {**CUTS, "length": "instance", "representation": "instance", "pool_size": 2}
    recorder = train([configure(method, audit=True)], tmp_path / "on", warm)
    ending = succeeded(recorder)
    result = ending.result
    assert [entry["axis"] for entry in result["audit"]] == ["cut", "length", "pool"]
    for entry in result["audit"]:
        assert (entry["task"], entry["examples"], entry["of"]) == ("own", 21, 21)
        assert value(entry, "own") == result["dev"]["accuracy"]
        assert set(rows_of(entry, "own")[0]["metrics"]) == set(result["dev"]) - {"loss"}
    told = 4 + 3 + (2 + 3 + 8)
    assert result["audit_passes"] == told * 21
    assert json.loads(json.dumps(result["audit"], allow_nan=False)) == result["audit"]
    table = pq.read_table(ending.files["audit"])
    assert table.num_rows == told * 21

    off = train([configure(method)], tmp_path / "off", warm)
    without = succeeded(off)
    assert "audit" not in without.result
    assert "audit" not in without.files
    assert without.result["forward_equivalents"] == result["forward_equivalents"]
    assert digest(off, "r0") == digest(recorder, "r0")


def test_choices_that_are_scored_together_are_audited(
    on_suite: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    config = on_suite({"kind": "adap_ins_pos", **SHORT}, "record", max_updates=2, audit=True)
    result = succeeded(train([config], tmp_path, warm)).result
    (entry,) = result["audit"]
    (row,) = rows_of(entry, "own")
    for name, number in row["metrics"].items():
        assert number == pytest.approx(result["dev"][name])
    assert entry["classes"] == ["wrong", "right"]
    assert not rows_of(entry, "mixture"), "choices are scored, no class is predicted"
    assert np.sum(entry["by_class"]) * 4 == result["audit_passes"]
    assert value(entry, "best_each", "record_em") >= value(entry, "own", "record_em")


def test_nothing_is_audited_where_nothing_is_chosen(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    for method in ("prompt_tuning", {"kind": "dynamic_prompt", "position": "fixed", **SHORT}):
        run = prepared(configure(method), tmp_path, warm)
        assert audited(run) == []


def test_large_splits_are_sampled_evenly_and_the_numbers_are_told(
    configure: Make, tmp_path: Path, warm: WarmBackbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "MOST_EXAMPLES", 8)
    run = prepared(configure(CUTS), tmp_path, warm)
    found = audit(run.config, run.parts, run.warm)
    assert found is not None
    (entry,) = found.entries
    assert (entry["examples"], entry["of"]) == (8, 21)
    assert [sum(row) for row in entry["by_class"]] == [4, 4]
    assert found.passes == 8 * 4 + 8, "the passes for the features of the sample count too"
    again = audit(run.config, run.parts, run.warm)
    assert again is not None
    assert again.entries == found.entries


def test_a_stop_ends_an_audit_and_the_next_attempt_has_it_whole(
    configure: Make, tmp_path: Path, warm: WarmBackbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(CUTS, audit=True)
    whole = succeeded(train([config], tmp_path / "whole", warm))
    looks: list[int] = []

    class Impatient(Recorder):
        def stop_wanted(self, run_id: str) -> StopKind | None:
            return StopKind.DRAIN if len(looks) > 3 else None

    def watched(
        config: RunConfig, parts: Any, warm: Any, is_stopped: Callable[[int], bool]
    ) -> Audit | None:
        def look(rows: int) -> bool:
            looks.append(rows)
            return is_stopped(rows)

        return audit(config, parts, warm, look)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "audit", watched)
        first = train([config], tmp_path / "a", warm, Impatient())
    assert first.endings["r0"].outcome is Outcome.DRAINED
    assert looks == sorted(looks)
    point = first.checkpoints["r0"][-1].folder
    second = Recorder()
    train_group([Member("r0", config, tmp_path / "b", point)], second, warm)
    assert succeeded(second).result["audit"] == whole.result["audit"]
    assert succeeded(second).result["forward_equivalents"] == whole.result["forward_equivalents"]
