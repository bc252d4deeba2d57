"""Tasks are read from folders; each wrong file is named with its line and a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.tasks import locate, read_task, resolve
from core.errors import DataError
from core.recipe_parts import TaskChoice


def write(folder: Path, stem: str, rows: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / f"{stem}.jsonl").write_text(lines + "\n", encoding="utf-8")


def own_folder(folder: Path, *, train: int = 60, stems: tuple[str, ...] = ("val",)) -> TaskChoice:
    rows = [{"text": f"line\u2028number {i}", "label": "ab"[i % 2]} for i in range(train)]
    write(folder, "train", list(rows))
    for stem in stems:
        write(folder, stem, [{"text": f"{stem} {i}", "label": "ab"[i % 2]} for i in range(10)])
    return TaskChoice(name="mine", folder=str(folder))


def test_val_is_test_when_there_is_no_test_file(tmp_path: Path) -> None:
    data = read_task(own_folder(tmp_path))
    assert (len(data.train) + len(data.dev), len(data.test)) == (60, 10)
    assert (data.test_source, data.dev_source) == ("val.jsonl", "cut from train.jsonl")
    assert data.labels == ("a", "b")
    assert data.majority_share("test") == 0.5


def test_val_is_dev_when_there_is_a_test_file(tmp_path: Path) -> None:
    data = read_task(own_folder(tmp_path, stems=("val", "test")))
    assert (len(data.train), len(data.dev), len(data.test)) == (60, 10, 10)
    assert (data.test_source, data.dev_source) == ("test.jsonl", "val.jsonl")


def test_paper_practice_trains_on_all_and_selects_on_the_reported_split(tmp_path: Path) -> None:
    data = read_task(own_folder(tmp_path), selection="paper_practice")
    assert len(data.train) == 60
    assert data.dev == data.test


def test_a_changed_file_is_a_new_version_and_refused_for_a_queued_run(tmp_path: Path) -> None:
    choice = resolve(own_folder(tmp_path))
    assert Path(choice.folder) == tmp_path
    read_task(choice)
    write(tmp_path, "val", [{"text": "other", "label": "a"}, {"text": "new", "label": "b"}])
    with pytest.raises(DataError, match="changed since the run was queued"):
        read_task(choice)


def test_booleans_of_wic_are_read_and_other_counts_than_the_official_noted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"word": f"w{i}", "sentence1": "one", "sentence2": f"two {i}", "label": i % 2 == 0}
        for i in range(40)
    ]
    for stem in ("train", "val"):
        write(tmp_path / "WiC", stem, rows)
    data = read_task(TaskChoice(name="wic"), [tmp_path])
    example = data.test[0]
    assert example.rows[0] == ("sentence1: one sentence2: two 0 word: w0",)
    assert example.typed == ("w0", "one", "two 0")
    assert data.labels[example.label] == "same"
    assert "officially 638" in " ".join(data.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "x", "label": "a"', "line 2: not valid JSON"),
        (b'["x"]', "line 2: not a JSON object"),
        (b'{"text": "\xff", "label": "a"}', "line 2: not valid UTF-8 at byte 11"),
        (b'{"text": "x", "label": NaN}', "line 2: not valid JSON"),
        (b'{"text": "  ", "label": "a"}', "line 2: field 'text' is empty"),
        (b'{"text": "x"}', "line 2: no field 'label'; the line has text"),
        (b'{"text": null, "label": "a"}', "line 2: field 'text' is null"),
        (b'{"text": ["x"], "label": "a"}', "neither text nor number"),
        (b'{"text": "x", "label": null}', "line 2: field 'label' is null"),
        (b'\n{"text": "x"}', "line 3: no field 'label'"),
        (b'{"text": "x", "label": "zz"}', "line 2: label 'zz' is none of a, b"),
        (b'\xef\xbb\xbf{"text": "x", "label": "a"}', "line 2: begins with a byte order mark"),
        (b'{"text": "x", "text": "y", "label": "a"}', "line 2: .*the field 'text' stands twice"),
        (b'{"text": "x", "label": "a", "score": 1e999}', "line 2: .*1e999 is too large"),
        (b'{"text": "x\\ud800", "label": "a"}', "line 2: holds half of a surrogate pair"),
        (b'{"text": "x\x00", "label": "a"}', "line 2: not valid JSON"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    choice = own_folder(tmp_path)
    (tmp_path / "val.jsonl").write_bytes(b'{"text": "x", "label": "a"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        read_task(choice)


@pytest.mark.parametrize(
    ("size", "message"),
    [(9 * 2**20, "line 2: longer than 8 MiB"), (100_000, "line 2: not valid JSON")],
    ids=["endless", "deep"],
)
def test_a_line_that_is_too_long_or_too_deep_is_named(
    tmp_path: Path, size: int, message: str
) -> None:
    choice = own_folder(tmp_path)
    line = b'{"text": "x", "label": "a", "deep": ' + b"[" * size
    (tmp_path / "val.jsonl").write_bytes(b'{"text": "x", "label": "a"}\n' + line)
    with pytest.raises(DataError, match=message):
        read_task(choice)


def test_missing_files_and_folders_say_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked in: .*--data"):
        locate(TaskChoice(name="cb"), [tmp_path])
    with pytest.raises(DataError, match="there is no folder"):
        locate(TaskChoice(name="mine", folder=str(tmp_path / "no")))
    write(tmp_path / "CB", "val", [{"premise": "a", "hypothesis": "b", "label": "neutral"}])
    with pytest.raises(DataError, match=r"no train.jsonl in .*there: val.jsonl"):
        read_task(TaskChoice(name="cb"), [tmp_path])


def test_a_relative_folder_is_found_in_a_data_folder(tmp_path: Path) -> None:
    own_folder(tmp_path / "mine")
    choice = TaskChoice(name="mine", folder="mine")
    assert locate(choice, [tmp_path / "elsewhere", tmp_path]) == tmp_path / "mine"


def test_a_misspelt_group_field_is_refused(tmp_path: Path) -> None:
    choice = own_folder(tmp_path).model_copy(update={"group_field": "grup"})
    with pytest.raises(DataError, match="no field 'grup'"):
        read_task(choice)


def test_one_label_only_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", [{"text": "x", "label": "a"}] * 9)
    write(tmp_path, "val", [{"text": "x", "label": "a"}])
    with pytest.raises(DataError, match="only label 'a'"):
        read_task(TaskChoice(name="mine", folder=str(tmp_path)))
