"""What ``studio data check`` tells about a folder with a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.check import check_suite, holds_tasks
from core.data.library import add_dataset
from core.data.own.model import ColumnMapping
from core.errors import DataError
from core.local.report import check, list_tasks, task_choice
from core.settings import get_settings
from tests.real_data import REAL_DATA
from tests.suite_files import (
    CB_LABELS,
    RTE_LABELS,
    news_line,
    pair_lines,
    passage_line,
    write_lines,
)

TITLES = ["BoolQ", "CB", "COPA", "MultiRC", "ReCoRD", "RTE", "WiC", "WSC"]

# Lines, and what is counted in them, as the real files' own description gives them.
REAL = {
    "BoolQ/val.jsonl": ("3,270 examples", "no 1,237, yes 2,033"),
    "CB/train.jsonl": ("250 examples", "contradiction 119, entailment 115, neutral 16"),
    "CB/val.jsonl": ("56 examples", "contradiction 28, entailment 23, neutral 5"),
    "COPA/train.jsonl": ("400 examples", "choice1 195, choice2 205"),
    "COPA/val.jsonl": ("100 examples", "choice1 55, choice2 45"),
    "MultiRC/train.jsonl": (
        "456 passages, 5,131 questions, 27,243 answers",
        "no 15,218, yes 12,025",
    ),
    "MultiRC/val.jsonl": ("83 passages, 953 questions, 4,848 answers", "no 2,773, yes 2,075"),
    "RTE/train.jsonl": ("2,490 examples", "entailment 1,249, not_entailment 1,241"),
    "RTE/val.jsonl": ("277 examples", "entailment 146, not_entailment 131"),
    "WiC/train.jsonl": ("5,428 examples", "different 2,714, same 2,714"),
    "WiC/val.jsonl": ("638 examples", "different 319, same 319"),
    "WSC/train.jsonl": ("554 examples", "different 295, same 259"),
    "WSC/val.jsonl": ("104 examples", "different 66, same 38"),
    "AX-b/AX-b.jsonl": ("1,104 examples", "entailment 460, not_entailment 644"),
    "AX-g/AX-g.jsonl": ("356 examples", "entailment 178, not_entailment 178"),
}
ABSENT = {"BoolQ/train.jsonl", "ReCoRD/train.jsonl", "ReCoRD/val.jsonl"}


def suite(root: Path) -> Path:
    folder = root / "superglue"
    write_lines(folder / "RTE", "val", pair_lines(277, RTE_LABELS))
    write_lines(folder / "CB", "train", pair_lines(9, CB_LABELS))
    write_lines(folder / "MultiRC", "train", [passage_line(i) for i in range(4)])
    write_lines(folder / "MultiRC", "val", [passage_line(0, (101,) * 48)])
    write_lines(folder / "ReCoRD", "val", [news_line(i) for i in range(3)])
    return folder


def test_every_file_of_every_task_is_listed_with_its_state(tmp_path: Path) -> None:
    report = check_suite(suite(tmp_path))
    files = {file.file: file for file in report.files}
    assert [file.task for file in report.files if file.file.endswith("val.jsonl")] == TITLES
    assert files["RTE/val.jsonl"].state == "official"
    assert files["CB/train.jsonl"].state == "partial"
    assert files["MultiRC/train.jsonl"].found == "4 passages, 8 questions, 20 answers"
    assert files["MultiRC/val.jsonl"].state == "official", "answers are counted, not lines"
    assert files["ReCoRD/val.jsonl"].found == "3 passages, 6 queries"
    assert {name for name, file in files.items() if file.state == "absent"} == {
        *(f"{title}/{stem}.jsonl" for title in TITLES for stem in ("train", "val")),
        "AX-b/AX-b.jsonl",
        "AX-g/AX-g.jsonl",
    } - {file.file for file in report.files if file.found}
    assert sum(bool(file.found) for file in report.files) == 5


def test_a_wrong_file_is_faulty_and_the_rest_is_still_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = suite(tmp_path)
    assert check(str(folder)) == 0
    write_lines(folder / "RTE", "train", pair_lines(9, CB_LABELS))
    report = check_suite(folder)
    (faulty,) = [file for file in report.files if file.state == "faulty"]
    assert "line 1: label 'contradiction' is none of entailment" in faulty.labels
    assert "looks like one of CB" in faulty.labels
    assert check(str(folder)) == 1
    assert "official" in capsys.readouterr().out


def test_the_hidden_test_file_is_told_apart_from_one_with_labels(tmp_path: Path) -> None:
    folder = suite(tmp_path)
    lines = pair_lines(3000, RTE_LABELS)
    write_lines(folder / "RTE", "test", ({**line, "label": None} for line in lines))
    write_lines(folder / "CB", "test", pair_lines(250, CB_LABELS))
    files = {file.file: file for file in check_suite(folder).files}
    assert (files["RTE/test.jsonl"].state, files["RTE/test.jsonl"].labels) == ("official", "hidden")
    assert "never read" in files["CB/test.jsonl"].labels


def test_other_folders_are_named_with_what_they_are(tmp_path: Path) -> None:
    suite(tmp_path)
    write_lines(tmp_path / "fewglue" / "RTE", "train", pair_lines(32, RTE_LABELS))
    write_lines(tmp_path / "mine", "train", [{"text": "a", "label": "b"}])
    write_lines(tmp_path / "sst2", "train", [{"text": "a", "label": "b"}])
    write_lines(tmp_path / "odd", "extra", [{"text": "a", "label": "b"}])
    (tmp_path / "empty").mkdir()
    assert holds_tasks(tmp_path)
    assert not holds_tasks(tmp_path / "mine")
    report = check_suite(tmp_path)
    files = {file.file: file.state for file in report.files}
    assert files["fewglue/RTE/train.jsonl"] == "official"
    assert files["fewglue/RTE/dev32.jsonl"] == "absent"
    assert files["superglue/RTE/val.jsonl"] == "official"
    said = dict(sentence.split(": ", 1) for sentence in report.others)
    assert sorted(said) == ["empty", "mine", "odd", "sst2"]
    assert "a folder of its own with train" in said["mine"]
    assert "read as task sst2" in said["sst2"]
    assert "not read" in said["odd"]
    assert "no JSONL file" in said["empty"]


def test_a_folder_with_an_official_name_is_read_as_that_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem in ("train", "val"):
        write_lines(tmp_path / "CB", stem, pair_lines(60, CB_LABELS))
    assert task_choice(str(tmp_path / "CB")).name == "cb"
    assert check(str(tmp_path / "CB")) == 0
    said = capsys.readouterr().out
    assert "template paper_code (default): hypothesis: {hypothesis}. premise: {premise}" in said
    assert "label words: contradiction = no, entailment = yes, neutral = maybe" in said
    assert "train.jsonl has 60 examples, officially 250" in said


def test_an_added_data_set_is_listed_and_checked_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"words number {i},{'abc'[i % 3]}\n" for i in range(90))
    (tmp_path / "notes.csv").write_text("note,kind\n" + rows)
    mapping = ColumnMapping(texts=("note",), label="kind")
    library = get_settings().datasets_path
    added = add_dataset("reviews", {"train": tmp_path / "notes.csv"}, mapping, library)
    assert list_tasks() == 0
    listed = capsys.readouterr().out
    assert f"reviews │ {added.dataset.card.version} │ 50 / 22 / 18" in listed
    assert check("reviews") == 0
    said = capsys.readouterr().out
    assert "reviews: train / dev / test = 50 / 22 / 18" in said
    assert f"version {added.dataset.card.version}" in said
    assert "note: test is cut from the file: a fifth, stratified by label" in said
    with pytest.raises(DataError, match="neither a task .*, nor an added data set, nor a folder"):
        check("revews")


def test_where_only_fewglues_files_are_here_their_regime_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA_DIR", str(tmp_path))
    for place, stem in enumerate(("train", "dev32")):
        write_lines(tmp_path / "fewglue" / "RTE", stem, pair_lines(32, RTE_LABELS, 100 * place))
    assert check("rte") == 0
    said = capsys.readouterr().out
    assert "/ 32, version" in said
    assert "[{kind: few_shot, draw: fewglue}]" in said
    assert list_tasks() == 0
    assert "FewGLUE only: few_shot with draw: fewglue" in capsys.readouterr().out
    with pytest.raises(DataError, match="'cb' has no files here"):
        check("cb")


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no {REAL_DATA}")
def test_the_real_suite_has_the_counts_of_its_description() -> None:
    report = check_suite(REAL_DATA / "superglue")
    found = {f.file: (f.found, f.labels) for f in report.files if f.state == "official"}
    assert found == REAL
    assert {f.file for f in report.files if f.state == "absent"} == ABSENT
    assert {f.state for f in report.files} == {"official", "absent"}
    small = check_suite(REAL_DATA / "fewglue")
    assert len(small.files) == 16
    assert {f.state for f in small.files} == {"official"}
