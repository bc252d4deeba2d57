"""FewGLUE's fixed 32 as a source of train, and the ways in which train is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.tasks import candidates, read_task, resolve
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.regimes import REGIMES, RegimeConfig
from core.tasks import TASKS
from tests.real_data import real_task
from tests.suite_files import (
    CB_LABELS,
    RTE_LABELS,
    news_line,
    pair_lines,
    passage_line,
    write_lines,
)


def suite(root: Path, *, val: bool = True) -> Path:
    """RTE's official files and FewGLUE's, side by side."""
    write_lines(root / "superglue" / "RTE", "train", pair_lines(100, RTE_LABELS))
    if val:
        write_lines(root / "superglue" / "RTE", "val", pair_lines(40, RTE_LABELS, 200))
    write_lines(root / "fewglue" / "RTE", "train", pair_lines(32, RTE_LABELS, 300))
    write_lines(root / "FewGLUE_32dev" / "RTE", "dev32", pair_lines(32, RTE_LABELS, 400))
    return root


def test_train_is_fewglues_dev_its_dev32_and_test_the_official_val(tmp_path: Path) -> None:
    data = read_task(TaskChoice(name="rte"), [suite(tmp_path)], source="fewglue")
    assert (len(data.train), len(data.dev), len(data.test)) == (32, 32, 40)
    assert (data.dev_source, data.test_source) == ("dev32.jsonl", "val.jsonl")
    assert (data.train[0].id, data.dev[0].id, data.test[0].id) == ("300", "400", "200")
    assert data.version != read_task(TaskChoice(name="rte"), [tmp_path]).version


def test_without_the_official_val_dev32_is_test_and_a_note_says_so(tmp_path: Path) -> None:
    for stem in ("train", "dev32"):
        lines = [news_line(i + (50 if stem == "train" else 0)) for i in range(32)]
        write_lines(tmp_path / "fewglue" / "ReCoRD", stem, lines)
    data = read_task(TaskChoice(name="record"), [tmp_path], source="fewglue")
    assert (data.test_source, len(data.test)) == ("dev32.jsonl", 64)
    assert len(data.train) + len(data.dev) == 64
    shares = f"{len(data.train)} of FewGLUE's 64 train, {len(data.dev)} are dev"
    assert data.dev_source == f"cut from train.jsonl: {shares}"
    assert data.notes == (
        "the official val.jsonl is not here, so test is FewGLUE's dev32.jsonl",
        f"{shares}, dev32 is test",
    )
    assert data.kind == "choices"
    assert data.majority_share("test") == pytest.approx(0.5)


def test_a_queued_run_finds_the_same_files_by_its_folder_alone(tmp_path: Path) -> None:
    queued = resolve(TaskChoice(name="rte"), [suite(tmp_path)], source="fewglue")
    assert queued.folder == str(tmp_path / "superglue" / "RTE")
    assert read_task(queued, source="fewglue").version == queued.data_version
    with pytest.raises(DataError, match="changed since the run was queued"):
        read_task(queued, source="official")


def test_other_counts_missing_files_and_other_tasks_are_named(tmp_path: Path) -> None:
    write_lines(tmp_path / "fewglue" / "RTE", "train", pair_lines(30, RTE_LABELS))
    write_lines(tmp_path / "RTE", "val", pair_lines(40, RTE_LABELS, 200))
    with pytest.raises(DataError, match=r"FewGLUE's dev32.jsonl of 'rte' is not here") as caught:
        read_task(TaskChoice(name="rte"), [tmp_path], source="fewglue")
    assert "fewglue/RTE/dev32.jsonl" in caught.value.hint
    write_lines(tmp_path / "fewglue" / "RTE", "dev32", pair_lines(32, RTE_LABELS, 400))
    notes = read_task(TaskChoice(name="rte"), [tmp_path], source="fewglue").notes
    assert "train.jsonl has 30 lines, FewGLUE's has 32" in notes
    with pytest.raises(DataError, match=r"FewGLUE's train.jsonl of 'cb' is not here"):
        read_task(TaskChoice(name="cb"), [tmp_path], source="fewglue")
    with pytest.raises(DataError, match="FewGLUE has no task 'desk'"):
        read_task(TaskChoice(name="desk"), source="fewglue")


@pytest.mark.parametrize("source", ["official", "fewglue"])
def test_folds_share_train_out_and_a_refit_has_no_dev(tmp_path: Path, source: str) -> None:
    folder, choice = suite(tmp_path), TaskChoice(name="rte")
    whole = read_task(choice, [folder], selection="refit", source=source)  # type: ignore[arg-type]
    assert (whole.dev, whole.majority_share("dev")) == (
        (),
        pytest.approx(float("nan"), nan_ok=True),
    )
    seen: list[str] = []
    for fold in range(5):
        part = read_task(choice, [folder], selection="fold", fold=fold, source=source)  # type: ignore[arg-type]
        assert len(part.train) + len(part.dev) == len(whole.train)
        assert not {e.id for e in part.train} & {e.id for e in part.dev}
        assert part.dev_source == f"fold {fold + 1} of 5 of train.jsonl"
        seen += [example.id for example in part.dev]
    assert sorted(seen) == sorted(example.id for example in whole.train)


def test_templates_change_the_rows_but_not_the_files_version(tmp_path: Path) -> None:
    folder = suite(tmp_path)
    plain = read_task(TaskChoice(name="rte"), [folder])
    pairs = read_task(TaskChoice(name="rte", template="p_tuning_v2"), [folder])
    assert (plain.template, pairs.template) == ("paper_code", "p_tuning_v2")
    assert (len(plain.test[0].rows[0]), len(pairs.test[0].rows[0])) == (1, 2)
    assert plain.version == pairs.version
    assert [e.id for e in plain.dev] == [e.id for e in pairs.dev]
    assert resolve(TaskChoice(name="rte"), [folder]).template == "paper_code"
    with pytest.raises(DataError, match="no template 'odd'. Choose one of paper_code"):
        read_task(TaskChoice(name="rte", folder=str(folder / "superglue/RTE"), template="odd"))


def word_line(number: int) -> dict[str, object]:
    """A line as WiC has them."""
    return {
        "word": f"word{number // 2}",
        "sentence1": f"A word{number // 2} in {number}.",
        "sentence2": f"No word{number // 2} in {number}.",
        "start1": 2,
        "end1": 7,
        "start2": 3,
        "end2": 8,
        "label": number % 3 == 0,
        "idx": number,
    }


@pytest.mark.parametrize("name", ["cb", "wic", "multirc"])
@pytest.mark.parametrize(
    "regime",
    [
        REGIMES["full_data"].model_validate({"max_train": 20}),
        REGIMES["few_shot"].model_validate({"k": 4, "dev": "same_size"}),
        REGIMES["few_shot"].model_validate({"k": 4, "count": "in_all"}),
    ],
    ids=lambda regime: regime.label,
)
def test_every_template_draws_the_same_examples(
    tmp_path: Path, name: str, regime: RegimeConfig
) -> None:
    lines = {
        "cb": pair_lines(60, CB_LABELS),
        "wic": [word_line(number) for number in range(60)],
        "multirc": [passage_line(number) for number in range(30)],
    }[name]
    for stem in ("train", "val"):
        write_lines(tmp_path / TASKS[name].folder[0], stem, lines)
    for seed in range(3):
        drawn = set()
        for template in TASKS[name].template_names:
            data = read_task(TaskChoice(name=name, template=template), [tmp_path])
            draw = regime.select(candidates(data), seed)
            drawn.add(
                tuple(
                    tuple(data.train[i].typed for i in part)
                    for part in (draw.train, draw.dev or ())
                )
            )
        assert len(TASKS[name].template_names) > 1
        assert len(drawn) == 1


def test_examples_that_only_a_place_tells_apart_have_keys_of_their_own(tmp_path: Path) -> None:
    text = "Ada saw Bob when he said that he left."
    lines = [
        {
            "text": text,
            "target": {
                "span1_text": "Bob",
                "span2_text": "he",
                "span1_index": 2,
                "span2_index": place,
            },
            "label": label,
            "idx": number,
        }
        for number, (place, label) in enumerate([(4, True), (7, True), (4, False), (7, False)])
    ]
    for stem in ("train", "val"):
        write_lines(tmp_path / "WSC", stem, lines)
    data = read_task(TaskChoice(name="wsc"), [tmp_path], selection="refit")
    assert len(set(candidates(data).keys)) == 4


def test_a_regime_sees_families_and_names_of_classes(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_lines(tmp_path / "CB", name, pair_lines(60, CB_LABELS))
    found = candidates(read_task(TaskChoice(name="cb"), [tmp_path], selection="refit"))
    assert (found.names, found.num_labels, len(found.groups)) == (CB_LABELS, 3, 60)


def test_the_one_class_file_of_wsc_is_refused_with_the_way_out() -> None:
    data = real_task("wsc", selection="dev", source="fewglue")
    regime = REGIMES["few_shot"](kind="few_shot", draw="fewglue")  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"Sample 32 from train instead"):
        regime.select(candidates(data), 0)


def test_the_real_32_are_read_with_the_official_val_as_test() -> None:
    data = real_task("multirc", selection="dev", source="fewglue")
    assert (len(data.train), len(data.dev), len(data.test)) == (154, 167, 4848)
    record = real_task("record", selection="refit", source="fewglue")
    assert (len(record.train), len(record.test), record.test_source) == (32, 32, "dev32.jsonl")
    cut = real_task("record", selection="dev", source="fewglue")
    assert cut.notes[-1] == "22 of FewGLUE's 32 train, 10 are dev, dev32 is test"
