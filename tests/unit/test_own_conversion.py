"""Mapping the columns of a file of one's own: normalised files, splits, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.data.own.conversion import convert
from core.data.own.model import USUAL, ColumnMapping, Limits, Report, to_json

TEXT = ColumnMapping(("text",), "label")


def converted(
    folder: Path,
    files: str | Mapping[str, str],
    mapping: ColumnMapping = TEXT,
    limits: Limits = USUAL,
) -> Report:
    contents = {"train": files} if isinstance(files, str) else files
    sources = {}
    for split, content in contents.items():
        sources[split] = folder / f"{split}.csv"
        sources[split].write_text(content, encoding="utf-8")
    out = folder / "out"
    out.mkdir()
    report = convert(sources, mapping, out, limits=limits)
    assert Report.from_json(json.loads(json.dumps(to_json(report)))) == report
    if report.problems:
        assert not list(out.iterdir()), "something half-written was left"
    return report


def lines(folder: Path, stem: str) -> list[dict[str, str]]:
    content = (folder / "out" / f"{stem}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in content.split("\n")[:-1]]


def rows(count: int, labels: str = "xy", start: int = 0) -> str:
    body = "".join(f"text {i},{labels[i % len(labels)]}\n" for i in range(start, start + count))
    return f"text,label\n{body}"


def messages(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


def test_texts_and_labels_get_fixed_names_and_keep_their_content(tmp_path: Path) -> None:
    files = {
        "train": 'id,b,a,y\n1,"one, two",NA,no\n2,  spaced ,null,yes\n',
        "test": "a,b,y,id\nthree,four,no,3\n",
    }
    report = converted(tmp_path, files, ColumnMapping(("a", "b"), "y"))
    assert lines(tmp_path, "train") == [
        {"text1": "NA", "text2": "one, two", "label": "no"},
        {"text1": "null", "text2": "  spaced ", "label": "yes"},
    ]
    assert lines(tmp_path, "test") == [{"text1": "three", "text2": "four", "label": "no"}]
    assert report.counts == {"train": 2, "test": 1}
    assert report.label_counts["test"] == {"no": 1, "yes": 0}
    assert "test has no example of 'yes'" in report.warnings


def test_without_a_test_a_fifth_is_cut_by_group_with_labels_in_their_shares(
    tmp_path: Path,
) -> None:
    body = "".join(f"text {i},{'xyz'[i % 3]},doc{i // 3}\n" for i in range(600))
    report = converted(
        tmp_path, f"text,label,doc\n{body}", ColumnMapping(("text",), "label", group="doc")
    )
    assert report.counts == {"train": 480, "test": 120}
    assert set(report.label_counts["test"].values()) == {40}
    groups = [{row["group"] for row in lines(tmp_path, stem)} for stem in ("train", "test")]
    assert not groups[0] & groups[1]
    together = lines(tmp_path, "train") + lines(tmp_path, "test")
    assert sorted(int(row["text"][5:]) for row in together) == list(range(600))


def test_the_cut_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    body = rows(100).splitlines()[1:]
    cuts = []
    for name, order in (("one", body), ("two", body[::-1])):
        (tmp_path / name).mkdir()
        converted(tmp_path / name, "\n".join(["text,label", *order]))
        cuts.append({row["text"] for row in lines(tmp_path / name, "test")})
    assert cuts[0] == cuts[1]
    assert len(cuts[0]) == 20


def test_equal_texts_stay_on_one_side_of_the_cut(tmp_path: Path) -> None:
    body = "".join(
        f"Text  {i % 50},{'xy'[i % 2]}\ntext {i % 50} ,{'xy'[i % 2]}\n" for i in range(50)
    )
    report = converted(tmp_path, f"text,label\n{body}")
    sides = [
        {" ".join(row["text"].lower().split()) for row in lines(tmp_path, stem)}
        for stem in ("train", "test")
    ]
    assert not sides[0] & sides[1]
    assert "of train with the text of another row there" in " ".join(report.warnings)


def test_a_column_can_name_the_splits(tmp_path: Path) -> None:
    content = "text,label,part\na,x,Train\nb,y,train\nc,x,validation\nd,y,test\n"
    mapping = ColumnMapping(("text",), "label", "part")
    assert converted(tmp_path, content, mapping).counts == {"train": 2, "dev": 1, "test": 1}
    assert lines(tmp_path, "val") == [{"text": "c", "label": "x"}]


def test_the_values_of_a_split_column_can_be_mapped(tmp_path: Path) -> None:
    content = "text,label,part\na,x,A\nb,y,A\nc,x,B\nd,y,C\n"
    values = {"A": "train", "B": "test"}
    report = converted(tmp_path, content, ColumnMapping(("text",), "label", "part", values))
    assert messages(report) == [
        "train.csv, line 5: the value 'C' in column 'part'; it names no split. Say which value "
        "means train, dev and test."
    ]


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        (
            "text,label,part\na,x,test\nb,y,test\n",
            {},
            "train.csv: no row of split train by column 'part' (train 0, dev 0, test 2). Choose "
            "another column for the split, or none.",
        ),
        (
            "text,label,part\na,x,A\nb,y,A\n",
            {"A": "train", "B": "test"},
            "train.csv: no row of split test by column 'part' (train 2, dev 0, test 0). Choose "
            "another column for the split, or none.",
        ),
    ],
)
def test_an_empty_split_is_refused_with_the_counts(
    content: str, values: dict[str, str], message: str, tmp_path: Path
) -> None:
    mapping = ColumnMapping(("text",), "label", "part", values)
    assert messages(converted(tmp_path, content, mapping)) == [message]


def test_one_class_is_no_task(tmp_path: Path) -> None:
    assert messages(converted(tmp_path, rows(30, "a"))) == [
        "train.csv: only label 'a' in column 'label'; a task needs at least two. Choose another "
        "column, or give more rows."
    ]


def test_too_many_labels_ask_whether_it_is_the_label_column(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(9_812))
    report = converted(tmp_path, content, ColumnMapping(("label",), "text"))
    assert messages(report) == [
        "train.csv: 9,812 different labels in column 'text': is this the label column? At most "
        "256 are taken."
    ]


def test_counting_labels_stops_early(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"text {i},{i}\n" for i in range(12_000))
    assert messages(converted(tmp_path, content)) == [
        "train.csv: more than 10,000 different labels in column 'label': is this the label "
        "column? At most 256 are taken."
    ]


def test_many_labels_are_a_warning(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"text {i},l{i % 51}\n" for i in range(510))
    assert "51 different labels in column 'label'" in converted(tmp_path, content).warnings


def test_missing_texts_and_labels_are_listed_and_refused(tmp_path: Path) -> None:
    content = "text,label\na,x\n,y\nb,\n  ,x\nc,y\n"
    assert messages(converted(tmp_path, content)) == [
        "train.csv, line 3: no value in column 'text' on 2 lines: 3, 5. Fill them in, or have such "
        "rows left out.",
        "train.csv, line 4: no value in column 'label' on 1 line: 4. Fill them in, or have such "
        "rows left out.",
    ]


def test_rows_without_text_or_label_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    content = rows(20) + ",x\nb,\n,\n"
    report = converted(tmp_path, content, ColumnMapping(("text",), "label", on_missing="drop"))
    assert sum(report.counts.values()) == 20
    assert report.dropped == 3
    assert "train.csv: left out, no value in column 'text' on 2 lines: 22, 24" in report.warnings


def test_texts_that_are_too_long_are_named(tmp_path: Path) -> None:
    content = f"text,label\n{'a' * 51},x\nb,{'y' * 11}\n"
    report = converted(tmp_path, content, limits=Limits(text_characters=50, label_characters=10))
    assert messages(report) == [
        "train.csv, line 2: the text in column 'text' has 51 characters, at most 50 are taken. "
        "Shorten it; a backbone reads only its beginning anyway.",
        "train.csv, line 3: the label in column 'label' has 11 characters. Is this the label "
        "column?",
    ]


def test_repeats_contradictions_and_overlaps_are_counted_with_an_example(tmp_path: Path) -> None:
    files = {
        "train": "text,label\nsame,x\nother,y\nSame ,x\nother,x\n",
        "test": "text,label\nnew,y\nsame,x\n",
    }
    warnings = converted(tmp_path, files).warnings
    assert (
        "2 rows of train with the text of another row there (for example lines 2 of train.csv "
        "and 4 of train.csv)" in warnings
    )
    assert (
        "1 text with different labels (for example lines 3 of train.csv and 5 of train.csv)"
        in warnings
    )
    assert (
        "1 of 2 texts of test also in train (for example lines 3 of test.csv and 2 of "
        "train.csv)" in warnings
    )


def test_labels_that_differ_only_in_case_are_told(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(
        f"text {i},{['yes', 'Yes', 'no'][i % 3]}\n" for i in range(60)
    )
    warnings = converted(tmp_path, content).warnings
    assert "labels 'Yes' and 'yes' differ only in case or blanks" in warnings


def test_rows_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    content = "text,label,doc\n" + "".join(f"text {i},{i % 2},\n" for i in range(40))
    report = converted(tmp_path, content, ColumnMapping(("text",), "label", group="doc"))
    assert report.counts == {"train": 32, "test": 8}
    assert report.warnings[0].startswith("no value in column 'doc' on 40 rows;")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (ColumnMapping((), "label"), "0 text columns are named; one or two are taken."),
        (ColumnMapping(("text",), ""), "no label column is named."),
        (ColumnMapping(("text", "text"), "label"), "column 'text' is chosen twice."),
        (ColumnMapping(("text",), "text"), "column 'text' is chosen twice."),
        (ColumnMapping(("text",), "label", group="label"), "column 'label' is chosen twice."),
        (ColumnMapping(("text",), "label", "part", {"a": "train1"}), "'train1' is no split."),
        (
            ColumnMapping(("text",), "stars"),
            "train.csv: there is no column 'stars'; the file has 'text', 'label'.",
        ),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(
    mapping: ColumnMapping, message: str, tmp_path: Path
) -> None:
    found = messages(converted(tmp_path, rows(20), mapping))
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_key_that_no_line_has_explains_all_empty_values(tmp_path: Path) -> None:
    content = '{"text": "a", "label": "x"}\n' * 2_000
    assert messages(converted(tmp_path, content, ColumnMapping(("body",), "label"))) == [
        "train.csv: there is no column 'body'; the file has 'text', 'label'. Choose one of these."
    ]


def test_a_nested_value_in_a_used_column_is_refused_by_line(tmp_path: Path) -> None:
    content = '{"text": "a", "label": "x"}\n{"text": ["b"], "label": "y", "more": {}}\n'
    assert messages(converted(tmp_path, content)) == [
        "train.csv, line 2: column 'text' holds a list. Only texts and numbers are taken."
    ]


def test_several_files_and_a_split_column_contradict_each_other(tmp_path: Path) -> None:
    files = {"train": "text,label,part\na,x,test\n", "test": "text,label,part\nb,y,test\n"}
    report = converted(tmp_path, files, ColumnMapping(("text",), "label", "part"))
    assert "several files are given and column 'part' names splits too" in messages(report)[0]


def test_rows_in_one_group_cannot_be_cut(tmp_path: Path) -> None:
    content = "text,label,doc\n" + "".join(f"text {i},{i % 2},same\n" for i in range(40))
    report = converted(tmp_path, content, ColumnMapping(("text",), "label", group="doc"))
    assert "no test can be cut from 40 rows in 1 group (" in messages(report)[0]


def test_a_problem_in_one_of_several_files_keeps_none(tmp_path: Path) -> None:
    files = {"train": rows(20), "test": "text,label\nb\n"}
    assert messages(converted(tmp_path, files))[0].startswith("test.csv, line 2: 1 cell")


@pytest.mark.parametrize("is_in_files", [True, False])
def test_a_group_in_two_given_splits_is_told(tmp_path: Path, is_in_files: bool) -> None:
    splits = {
        "train": [("one", "anna"), ("two", "anna"), ("three", "bert"), ("six", "")],
        "dev": [("four", "carl"), ("six", "")],
        "test": [("five", "dora"), ("seven", " Anna"), ("eight", "anna"), ("nine", "bert")],
    }
    heading, told = "text,label,writer", {}
    for split, rows_of in splits.items():
        pairs = enumerate(rows_of)
        told[split] = [f"{text},{'xy'[i % 2]},{writer}" for i, (text, writer) in pairs]
    mapping = ColumnMapping(("text",), "label", group="writer")
    if is_in_files:
        files = {split: "\n".join([heading, *lines]) + "\n" for split, lines in told.items()}
        report = converted(tmp_path, files, mapping)
        example = "lines 3 of test.csv and 2 of train.csv"
    else:
        body = "".join(f"{line},{split}\n" for split, lines in told.items() for line in lines)
        split_mapping = ColumnMapping(("text",), "label", "split", group="writer")
        report = converted(tmp_path, f"{heading},split\n{body}", split_mapping)
        example = "lines 9 and 2"
    about = [warning for warning in report.warnings if " groups of " in warning]
    assert about == [f"2 of 3 groups of test also in train (for example {example})"]
    assert any("1 of 2 texts of dev also in train" in warning for warning in report.warnings)


def test_a_cut_by_the_studio_divides_no_group(tmp_path: Path) -> None:
    body = "".join(f"text {i},{'xy'[i % 2]},w{i % 9}\n" for i in range(90))
    mapping = ColumnMapping(("text",), "label", group="writer")
    report = converted(tmp_path, f"text,label,writer\n{body}", mapping)
    assert set(report.counts) == {"train", "test"}
    assert not report.warnings
