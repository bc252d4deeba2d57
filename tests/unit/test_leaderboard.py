"""Predictions in the form of SuperGLUE's leaderboard, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.leaderboard import (
    Answer,
    file_name,
    is_official,
    read_answers,
    submission_lines,
    write_folder,
)
from core.errors import DataError
from core.tasks import TASKS
from tests.seeding_tasks import prediction_rows


def written(task: str, *predictions: int, **more: Any) -> list[Any]:
    """Lines of the inputs 0, 1, ... as JSON values."""
    answers = [Answer(number, prediction) for number, prediction in enumerate(predictions)]
    return [json.loads(line) for line in submission_lines(task, answers, **more)]


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("boolq", ["false", "true"]),
        ("cb", ["contradiction", "entailment", "neutral"]),
        ("copa", [0, 1]),
        ("rte", ["entailment", "not_entailment"]),
        ("wic", ["false", "true"]),
        ("wsc", ["False", "True"]),
        ("ax-b", ["entailment", "not_entailment"]),
        ("ax-g", ["entailment", "not_entailment"]),
    ],
)
def test_a_label_is_written_as_the_leaderboard_reads_it(task: str, labels: list[Any]) -> None:
    lines = written(task, *range(len(labels)))
    assert lines == [{"idx": number, "label": label} for number, label in enumerate(labels)]


def test_multirc_is_nested_by_passage_and_question_whatever_the_order() -> None:
    places = [(0, 0, 0), (0, 1, 2), (0, 0, 1), (7, 4, 9)]
    answers = [
        Answer({"passage": p, "question": q, "answer": a}, place % 2)
        for place, (p, q, a) in enumerate(places)
    ]
    first, second = [json.loads(line) for line in submission_lines("multirc", answers)]
    assert first == {
        "idx": 0,
        "passage": {
            "questions": [
                {"idx": 0, "answers": [{"idx": 0, "label": 0}, {"idx": 1, "label": 0}]},
                {"idx": 1, "answers": [{"idx": 2, "label": 1}]},
            ]
        },
    }
    assert second["passage"]["questions"] == [{"idx": 4, "answers": [{"idx": 9, "label": 1}]}]


def test_record_is_answered_with_the_entitys_text() -> None:
    texts = {3: ("Rome", "São Paulo"), 8: ("Bern", "Oslo", "Kyiv")}
    answers = [Answer({"passage": 1, "query": 3}, 1), Answer({"passage": 2, "query": 8}, 2)]
    lines = submission_lines("record", answers, lambda number: texts[number["query"]])
    assert [json.loads(line) for line in lines] == [
        {"idx": 3, "label": "São Paulo"},
        {"idx": 8, "label": "Kyiv"},
    ]


def test_what_is_no_class_or_no_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="2 is no class of rte"):
        written("rte", 2)
    with pytest.raises(DataError, match="MultiRC: an identifier"):
        written("multirc", 0)


def test_files_are_named_as_the_leaderboard_wants_and_validation_says_so() -> None:
    names = {file_name(task, "leaderboard") for task in TASKS if is_official(task)}
    assert names == {
        "BoolQ.jsonl", "CB.jsonl", "COPA.jsonl", "MultiRC.jsonl", "ReCoRD.jsonl", "RTE.jsonl",
        "WiC.jsonl", "WSC.jsonl", "AX-b.jsonl", "AX-g.jsonl",
    }  # fmt: skip
    assert file_name("boolq", "test") == "BoolQ_val.jsonl"
    assert not is_official("boolq-devsplit")
    assert not is_official("sst2")


# ---- reading


def parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_answers_of_one_task_and_split_are_read(tmp_path: Path) -> None:
    rows = prediction_rows("cb", "test") + prediction_rows("cb", "leaderboard", 2)
    path = parquet(tmp_path, rows + prediction_rows("rte", "leaderboard"))
    assert read_answers(path, "cb", "leaderboard") == [Answer(0, 0), Answer(1, 1)]


def test_a_run_that_scored_no_leaderboard_says_what_to_do(tmp_path: Path) -> None:
    path = parquet(tmp_path, prediction_rows("cb", "test"))
    with pytest.raises(DataError, match=r"official test\.jsonl beside val\.jsonl"):
        read_answers(path, "cb", "leaderboard")


@pytest.mark.parametrize(("id_of_second", "said"), [("", "no identifier"), ("0", "repeat")])
def test_answers_that_cannot_be_assigned_are_refused(
    tmp_path: Path, id_of_second: str, said: str
) -> None:
    rows = prediction_rows("cb", "test", 2)
    rows[1]["id"] = id_of_second
    with pytest.raises(DataError, match=said):
        read_answers(parquet(tmp_path, rows), "cb", "test")


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    old = parquet(tmp_path, [{"split": "test", "prediction": 1}])
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(old, "cb", "test")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(tmp_path / "torn.parquet", "cb", "test")
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(tmp_path / "absent.parquet", "cb", "test")


# ---- writing


def test_a_folder_appears_whole_or_not_at_all_and_is_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    write_folder(folder, {"a.jsonl": "{}\n"})
    assert (folder / "a.jsonl").read_bytes() == b"{}\n"
    with pytest.raises(DataError, match="exists already"):
        write_folder(folder, {"a.jsonl": "other"})
    assert (folder / "a.jsonl").read_bytes() == b"{}\n"
    with pytest.raises(DataError, match="could not be written"):
        write_folder(tmp_path / "half", {"a.jsonl": "{}\n", "no/such/place": ""})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
