"""Reading a file of one's own: what is wrong is told by line, nothing else is changed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.own.inspection import inspect
from core.data.own.model import ENCODINGS, Inspection, Limits, Reading, to_json
from core.data.own.opening import open_table
from core.data.own.problems import Problems
from core.data.own.table import Cell
from tests.malformed_files import MALFORMED

FEW = Limits(shown_problems=3, counted_problems=5, rows=10, text_characters=50, file_bytes=2_000)


def written(folder: Path, content: bytes | str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, reading: Reading = Reading()) -> list[dict[str, Cell]]:  # noqa: B008
    problems = Problems(Limits())
    found = [cells for _, cells in open_table(path, reading, Limits(), problems).rows]
    assert not problems.count, problems.shown
    return found


@pytest.mark.parametrize("fault", MALFORMED)
def test_every_fault_is_named_with_its_place_and_a_remedy(fault: str, tmp_path: Path) -> None:
    content, message = MALFORMED[fault]
    found = inspect(written(tmp_path, content))
    assert not found.is_usable
    assert str(found.problems[0]) == f"data.csv{message}"


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "utf-16"])
def test_text_comes_back_in_every_encoding_that_can_be_chosen(
    encoding: str, tmp_path: Path
) -> None:
    text = {
        "windows-1251": "хороший",
        "koi8-r": "хороший",
        "windows-1253": "καλό",
        "shift_jis": "映画",
        "euc-jp": "映画",
        "gb18030": "电影",
        "big5": "電影",
        "euc-kr": "영화",
    }.get(encoding, "sör é")
    path = written(tmp_path, f"text,label\n{text},x\n".encode(encoding))
    assert rows_of(path, Reading(encoding=encoding)) == [{"text": text, "label": "x"}]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("cp1252", "windows-1252"),
        ("Latin-1", "iso-8859-1"),
        ("ISO_8859-1", "iso-8859-1"),
        ("utf-8-sig", "utf-8"),
        ("UTF8", "utf-8"),
        ("macroman", "mac-roman"),
    ],
)
def test_an_encoding_goes_by_its_usual_names(alias: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("text,label\ncafé,x\n".encode(name))
    assert rows_of(path, Reading(encoding=alias)) == [{"text": "café", "label": "x"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_tells_the_encoding_and_is_no_part_of_a_name(
    encoding: str, tmp_path: Path
) -> None:
    found = inspect(written(tmp_path, "text,label\nfür,x\n".encode(encoding)))
    assert [column.name for column in found.columns] == ["text", "label"]
    assert found.columns[0].samples == ("für",)
    assert any("byte order mark" in note for note in found.notes)


def test_a_chosen_encoding_that_a_mark_contradicts_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\na,x\n".encode("utf-8-sig"))
    found = inspect(path, Reading(encoding="windows-1252"))
    assert "a byte order mark says utf-8" in str(found.problems[0])
    utf16 = tmp_path / "marked.csv"
    utf16.write_bytes("text,label\nä,x\n".encode("utf-16"))
    assert rows_of(utf16, Reading(encoding="utf16")) == [{"text": "ä", "label": "x"}]
    assert "'klingon' is not known" in str(inspect(path, Reading(encoding="klingon")).problems[0])


def test_the_place_of_a_wrong_byte_is_right_far_into_the_file(tmp_path: Path) -> None:
    rows = [f"text number {i} é,x" for i in range(40_000)]
    rows[35_000] += "\udcff"
    content = "text,label\n" + "\n".join(rows)
    found = inspect(written(tmp_path, content.encode("utf-8", "surrogateescape")))
    # The header is line 1; "é" takes two bytes.
    byte = len(rows[35_000][:-1].encode()) + 1
    assert f"line 35,002: not valid UTF-8 at byte {byte};" in str(found.problems[0])


def test_words_that_look_like_nothing_are_ordinary_texts(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "NaN", "N/A", "#N/A", "-", "0", "false"]
    path = written(tmp_path, "text,label\n" + "".join(f"{word},x\n" for word in words))
    assert [row["text"] for row in rows_of(path)] == words
    path = written(tmp_path, "".join(f'{{"text": "{word}"}}\n' for word in words))
    assert [row["text"] for row in rows_of(path)] == words


def test_quoted_cells_keep_every_character(tmp_path: Path) -> None:
    content = 'text,label\r\n"a ""word"", a comma\nand\r\na line",x\r\n5" pipe,y\r\n'
    assert rows_of(written(tmp_path, content)) == [
        {"text": 'a "word", a comma\nand\r\na line', "label": "x"},
        {"text": '5" pipe', "label": "y"},
    ]


def test_quotes_can_be_ordinary_characters(tmp_path: Path) -> None:
    path = written(tmp_path, 'text\tlabel\n"open, never closed\tx\n')
    assert not inspect(path).is_usable
    assert rows_of(path, Reading(quotes=False)) == [{"text": '"open, never closed', "label": "x"}]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_the_delimiter_is_found_by_content(delimiter: str, tmp_path: Path) -> None:
    content = f'text{delimiter}label\n"one, two; three\tfour"{delimiter}x\nfive{delimiter}y\n'
    found = inspect(written(tmp_path, content, "data.txt"))
    assert (found.delimiter, found.num_rows) == (delimiter, 2)
    assert found.format == ("tsv" if delimiter == "\t" else "csv")


def test_a_delimiter_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "text|label\na,b|x\n")
    assert rows_of(path, Reading(delimiter="|")) == [{"text": "a,b", "label": "x"}]
    assert "is not one character" in str(inspect(path, Reading(delimiter="||")).problems[0])


def test_numbers_of_json_stay_as_they_are_written(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1.50, "b": 123456789012345678901, "c": true, "d": null}\n')
    assert rows_of(path) == [{"a": "1.50", "b": "123456789012345678901", "c": "true", "d": None}]


def test_nested_values_are_told_of_their_column_alone(tmp_path: Path) -> None:
    path = written(tmp_path, '{"text": "a", "tags": null}\n{"text": "b", "tags": ["x"]}\n')
    found = inspect(path)
    assert found.is_usable
    assert [column.refused for column in found.columns] == ["", "holds a list on line 2"]


def test_parquet_is_read_by_content_with_its_unusable_columns_named(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", None, "c"],
            "label": pa.array(["x", "y", "x"]).dictionary_encode(),
            "score": [1.5, float("nan"), 3.0],
            "tags": [["q"], [], None],
            "image": [b"1", b"2", b"3"],
            "day": pa.array([1, 2, 3], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "data.csv")
    found = inspect(tmp_path / "data.csv")
    assert found.format == "parquet"
    assert found.is_usable
    assert {column.name: column.refused for column in found.columns} == {
        "text": "",
        "label": "",
        "score": "",
        "tags": "holds nested values (list<element: string>)",
        "image": "holds bytes, not text",
        "day": "holds date32[day], neither text nor number",
    }
    assert [column.missing for column in found.columns[:3]] == [1, 0, 1]


def test_the_limits_of_parquet_are_known_from_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"] * 11}), path)
    assert str(inspect(path, limits=FEW).problems[0]) == (
        "data.parquet: 11 rows, at most 10 are taken. Take a part of it."
    )


def test_what_is_too_much_is_refused_with_the_limit(tmp_path: Path) -> None:
    many = inspect(written(tmp_path, "text,label\n" + "a,x\n" * 11), limits=FEW)
    assert str(many.problems[0]).startswith("data.csv: more than 10 rows.")
    large = inspect(written(tmp_path, "a" * 2_001), limits=FEW)
    assert str(large.problems[0]).startswith("data.csv: has 2,001 bytes, at most 2,000 are taken.")
    limits = Limits(record_characters=100, text_characters=50)
    line = inspect(written(tmp_path, "text,label\n" + "a" * 150), limits=limits)
    assert str(line.problems[0]).startswith(
        "data.csv, line 2: the line has 150 characters; a text may have at most 50."
    )


def test_the_first_problems_are_listed_and_the_rest_is_counted(tmp_path: Path) -> None:
    ragged = "text,label\n" + "a\n" * 4
    found = inspect(written(tmp_path, ragged), limits=FEW)
    assert (len(found.problems), found.num_problems) == (3, 4)
    found = inspect(written(tmp_path, ragged + "a\n" * 100), limits=FEW)
    assert found.num_problems == 5


def test_folders_devices_and_missing_files_are_no_tables(tmp_path: Path) -> None:
    assert "is a folder or a device" in str(inspect(tmp_path).problems[0])
    assert "is a folder or a device" in str(inspect(Path("/dev/zero")).problems[0])
    assert "there is no such file" in str(inspect(tmp_path / "none.csv").problems[0])


@pytest.mark.parametrize(
    ("content", "roles"),
    [
        (
            "review,stars,part\nlong enough text,good,train\nanother text,bad,test\n",
            "text label split",
        ),
        ("premise,hypothesis,gold_label\na,b,yes\nc,d,no\n", "text text label"),
        ("id,text,label,author\n1,one,x,ann\n2,two,y,bob\n3,three,x,ann\n", "- text label group"),
        ("one,two\nfirst long enough,second long enough\nthird long enough,fourth one\n", "- -"),
    ],
)
def test_only_clear_roles_are_guessed(content: str, roles: str, tmp_path: Path) -> None:
    found = inspect(written(tmp_path, content))
    assert " ".join(column.role or "-" for column in found.columns) == roles


def test_columns_are_counted(tmp_path: Path) -> None:
    found = inspect(written(tmp_path, "text,label\naa,x\nb,x\n,y\nlonger,x\nb,y\n"))
    text, label = found.columns
    assert (text.distinct, text.longest, text.missing, text.mean_characters) == (3, 6, 1, 2.5)
    assert text.samples == ("aa", "b", "longer")
    assert label.values == {"x": 3, "y": 2}


def test_an_inspection_travels_as_json(tmp_path: Path) -> None:
    for content in ("text,label\na,x\nb\n", '{"text": "a", "label": "x"}\n', ""):
        found = inspect(written(tmp_path, content))
        assert Inspection.from_json(to_json(found)) == found
