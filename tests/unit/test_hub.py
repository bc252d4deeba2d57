"""Tasks fetched from the Hub become files in the official layout and are found by name."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.data.hub import fetch
from core.data.readers import read_rows
from core.data.tasks import read_task
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.settings import Settings

Rows = list[dict[str, Any]]


def repository(
    folder: Path, config: str, splits: Mapping[str, Rows], classes: Iterable[str] = ()
) -> str:
    """Make a repository that ``datasets`` reads, its labels numbered classes as on the Hub."""
    datasets = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    (folder / config).mkdir(parents=True, exist_ok=True)
    listed = []
    for split, rows in splits.items():
        made = datasets.Dataset.from_list(rows)
        if classes:
            made = made.cast_column("label", datasets.ClassLabel(names=list(classes)))
        made.to_parquet(str(folder / config / f"{split}.parquet"))
        listed.append({"split": split, "path": f"{config}/{split}.parquet"})
    card = json.dumps({"configs": [{"config_name": config, "data_files": listed}]})
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    return str(folder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [dict(row.fields) for row in read_rows(path)]


def cb_rows(count: int, *, hidden: bool = False) -> Rows:
    return [
        {"premise": f"P{i}", "hypothesis": "H", "idx": i, "label": -1 if hidden else i % 3}
        for i in range(count)
    ]


CB_CLASSES = ("entailment", "contradiction", "neutral")
CB = {"train": cb_rows(60), "validation": cb_rows(30), "test": cb_rows(9, hidden=True)}


def test_a_fetched_task_is_found_by_name_complete_and_without_hidden_labels(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    source = repository(tmp_path / "repo", "cb", CB, CB_CLASSES)
    folder = fetch("cb", settings.hub_path, offline=True, repository=source)
    assert lines(folder / "train.jsonl")[1] == {
        "premise": "P1",
        "hypothesis": "H",
        "idx": 1,
        "label": "contradiction",
    }
    data = read_task(TaskChoice(name="cb"), settings.data_folders)
    assert len(data.train) + len(data.dev) == 60
    assert data.labels[data.test[0].label] == "entailment"
    assert len(data.extra["leaderboard"].examples) == 9
    assert not list(settings.hub_path.glob(".partial*")), "nothing half-written is left"


def test_the_order_of_classes_is_the_repositorys_own(tmp_path: Path) -> None:
    turned = repository(tmp_path / "repo", "cb", CB, reversed(CB_CLASSES))
    folder = fetch("cb", tmp_path / "hub", offline=True, repository=turned)
    assert [line["label"] for line in lines(folder / "val.jsonl")[:3]] == [
        "neutral",
        "contradiction",
        "entailment",
    ]
    strange = repository(tmp_path / "other", "cb", CB, ("yes", "no", "maybe"))
    with pytest.raises(DataError, match="class 'yes' is none of entailment, contradiction"):
        fetch("cb", tmp_path / "hub", offline=True, repository=strange)


def test_fetching_again_keeps_versions_apart_and_points_to_the_newest(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    source = repository(tmp_path / "repo", "cb", CB, CB_CLASSES)
    first = fetch("cb", hub, offline=True, repository=source)
    assert fetch("cb", hub, offline=True, repository=source) == first
    other = {**CB, "train": cb_rows(45)}
    changed = repository(tmp_path / "second", "cb", other, CB_CLASSES)
    second = fetch("cb", hub, offline=True, repository=changed)
    assert len(lines(first / "train.jsonl")) == 60
    assert (hub / "superglue" / "CB").resolve() == second


def test_flattened_answers_of_multirc_become_passages_again(tmp_path: Path) -> None:
    rows: Rows = [
        {
            "paragraph": f"Text {passage}",
            "question": f"Question {question}?",
            "answer": f"Answer {answer}",
            "idx": {"paragraph": passage, "question": question, "answer": answer},
            "label": answer % 2,
        }
        # The passages' rows alternate: order must not matter.
        for answer in range(3)
        for question in range(2)
        for passage in range(20)
    ]
    splits = {"train": rows, "validation": rows}
    source = repository(tmp_path / "repo", "multirc", splits, ("False", "True"))
    folder = fetch("multirc", tmp_path / "hub", offline=True, repository=source)
    found = lines(folder / "train.jsonl")
    assert len(found) == 20
    assert [len(q["answers"]) for q in found[0]["passage"]["questions"]] == [3, 3]
    assert found[0]["passage"]["questions"][1]["answers"][2] == {
        "text": "Answer 2",
        "idx": 2,
        "label": 0,
    }
    data = read_task(TaskChoice(name="multirc"), [tmp_path / "hub"])
    assert len(data.test) == 120


def test_queries_of_record_get_their_entities_places_back(tmp_path: Path) -> None:
    rows: Rows = [
        {
            "passage": f"Ada met Bob in Rome on day {passage}.",
            "query": f"Number {query}: @placeholder came.",
            "entities": ["Bob", "Ada"],
            "entity_spans": {"text": ["Ada", "Bob"], "start": [0, 8], "end": [3, 11]},
            "answers": ["Bob"],
            "idx": {"passage": passage, "query": 2 * passage + query},
        }
        for passage in range(12)
        for query in range(2)
    ]
    source = repository(tmp_path / "repo", "record", {"train": rows, "validation": rows})
    folder = fetch("record", tmp_path / "hub", offline=True, repository=source)
    assert lines(folder / "train.jsonl")[0]["passage"]["entities"][1] == {"start": 8, "end": 10}
    example = read_task(TaskChoice(name="record", folder=str(folder))).test[1]
    assert (example.choices, example.right) == (("Ada", "Bob"), (1,))


def test_spans_of_wsc_and_labels_of_a_diagnostic_are_nested_and_named(tmp_path: Path) -> None:
    row = {
        "text": "Ann knew that she won.",
        "span1_index": 0,
        "span1_text": "Ann",
        "span2_index": 3,
        "span2_text": "she",
        "idx": 0,
        "label": 1,
    }
    splits = {"train": [row], "validation": [row]}
    source = repository(tmp_path / "wsc", "wsc.fixed", splits, ("False", "True"))
    folder = fetch("wsc", tmp_path / "hub", offline=True, repository=source)
    (line,) = lines(folder / "val.jsonl")
    assert line["target"]["span2_text"] == "she"
    assert line["label"] is True
    pair = [{"sentence1": "A", "sentence2": "B", "idx": 0, "label": 1}]
    axb = repository(tmp_path / "axb", "axb", {"test": pair}, ("entailment", "not_entailment"))
    folder = fetch("ax-b", tmp_path / "hub", offline=True, repository=axb)
    assert lines(folder / "AX-b.jsonl")[0]["label"] == "not_entailment"


def test_offline_or_missing_the_way_by_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the studio is offline. Put the official files into a"):
        fetch("rte", tmp_path / "hub", offline=True)
    source = repository(tmp_path / "repo", "cb", CB, CB_CLASSES)
    with pytest.raises(DataError, match=r"RTE could not be fetched .*'rte' not found.* RTE/"):
        fetch("rte", tmp_path / "hub", offline=True, repository=source)
    with pytest.raises(DataError, match="'desk' is no task of the Hub; those are ax-b, ax-g"):
        fetch("desk", tmp_path / "hub", offline=True)
    assert not list((tmp_path / "hub").rglob("*.jsonl"))


def test_other_columns_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    rows = [{"words": "x", "label": 0}, {"words": "y", "label": 1}]
    splits = {"train": rows, "validation": rows}
    source = repository(tmp_path / "repo", "wsc.fixed", splits, ("False", "True"))
    with pytest.raises(DataError, match=r"Split train of WSC has other columns than expected"):
        fetch("wsc", tmp_path / "hub", offline=True, repository=source)
    only_train = repository(tmp_path / "half", "cb", {"train": cb_rows(9)}, CB_CLASSES)
    with pytest.raises(DataError, match=r"no split validation of CB \(there: train\)"):
        fetch("cb", tmp_path / "hub", offline=True, repository=only_train)
    assert list((tmp_path / "hub").iterdir()) == []
