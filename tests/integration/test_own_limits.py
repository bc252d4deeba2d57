"""Files made to hurt: each is answered in a sentence, within 2 seconds and 300 MB."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.own.limited import Reply, ask_conversion, ask_inspection, inspect_file
from core.data.own.model import ColumnMapping, Inspection, Limits, Report
from core.errors import DataError
from tests.malformed_files import zipped

SECONDS = 2.0
"""Processor time; other processes share the machine."""
BYTES = 300_000_000
SIZE = 49_900_000
MAPPING = ColumnMapping(("text",), "label")

TOO_LONG = "characters; a text may have at most 100,000"
HEADER = b"text,label\n"
HUGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a line of 50 MB": (
        lambda: HEADER + b"a" * SIZE + b",x\n",
        f"line 2: the line has 49,900,002 {TOO_LONG}",
    ),
    "a line of 50 MB of JSON": (
        lambda: b'{"text":"' + b"a" * SIZE + b'"}\n',
        f"line 1: the line has 49,900,011 {TOO_LONG}",
    ),
    "a line of 50 MB that is no text": (
        lambda: HEADER + b"a" * SIZE + b"\xff\n",
        "line 2: not valid UTF-8 at byte 49900001",
    ),
    "a quote that is never closed": (
        lambda: HEADER + b'"' + b"a\n" * (SIZE // 2),
        "line 2: the double quote that opens",
    ),
    "a quoted line of 50 MB": (
        lambda: HEADER + b'"' + b'""' * (SIZE // 2) + b'",x\n',
        f"line 2: the line has 49,900,004 {TOO_LONG}",
    ),
    "25 million short rows": (lambda: HEADER + b"a\n" * (SIZE // 2), "line 2: 1 cell"),
    "50 million columns": (lambda: b"," * SIZE, f"line 1: the line has 49,900,000 {TOO_LONG}"),
    "brackets without end": (
        lambda: b'{"a":' + b"[" * 1_900_000 + b"\n",
        "line 1: nested too deeply",
    ),
    "7 million wrong lines": (lambda: b'{"a":1\n' * 7_000_000, "line 1: not valid JSON"),
    "lists of a million": (
        lambda: (b'{"text":[' + b"12," * 600_000 + b"1]}\n") * 5 + b"{",
        "line 6: an object must stand on one line",
    ),
    "a zip bomb": (lambda: zipped("a.csv", "0" * 50_000_000), "is a zip archive"),
    "text before a zip archive": (
        lambda: HEADER + b"a,x\n" + zipped("a.csv", "b,y\n"),
        "not a text file",
    ),
}


def written(folder: Path, content: bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def assert_cheap(reply: Reply) -> None:
    assert reply.cpu_seconds <= SECONDS
    assert reply.peak_bytes <= BYTES


@pytest.mark.parametrize("case", HUGE)
def test_files_made_to_hurt_are_refused_cheaply(case: str, tmp_path: Path) -> None:
    make, message = HUGE[case]
    reply = ask_inspection(written(tmp_path, make()))
    assert_cheap(reply)
    assert message in str(Inspection.from_json(reply.content).problems[0])


def test_a_million_labels_are_refused_cheaply(tmp_path: Path) -> None:
    path = written(tmp_path, b"text,label\n" + b"".join(b"t,l%d\n" % i for i in range(1_000_000)))
    (tmp_path / "out").mkdir()
    reply = ask_conversion({"train": path}, MAPPING, tmp_path / "out")
    assert_cheap(reply)
    assert "more than 10,000 different labels in column 'label'" in str(
        Report.from_json(reply.content).problems[0]
    )
    assert not list((tmp_path / "out").iterdir())


def test_random_bytes_are_refused_cheaply(tmp_path: Path) -> None:
    draw = random.Random(7)
    for _ in range(10):
        reply = ask_inspection(written(tmp_path, draw.randbytes(draw.randint(10, 300_000))))
        assert_cheap(reply)
        assert reply.content["num_problems"]


def test_parquet_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 30_000, pa.int32()), ["a" * 90_000])
    pq.write_table(pa.table({"text": texts, "label": ["x"] * 30_000}), path)
    assert path.stat().st_size < 1_000_000
    reply = ask_inspection(path)
    assert_cheap(reply)
    assert "the texts have more than 250,000,000 characters" in str(
        Inspection.from_json(reply.content).problems[0]
    )


def test_a_value_larger_than_memory_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "huge.parquet"
    pq.write_table(pa.table({"text": ["a" * 100_000_000]}), path, compression="zstd")
    with pytest.raises(DataError, match=r"huge\.parquet: reading needs more than 120 MB"):
        inspect_file(path, limits=Limits(memory_bytes=120_000_000))


def test_time_is_limited(tmp_path: Path) -> None:
    path = written(tmp_path, b"text,label\n" + b"some text,x\n" * 900_000)
    with pytest.raises(DataError, match=r"reading took more than 0\.3 seconds"):
        inspect_file(path, limits=Limits(wall_seconds=0.3))


def test_a_million_good_rows_are_inspected_in_little_memory(tmp_path: Path) -> None:
    path = written(tmp_path, b"text,label\n" + b"some longer text with words,x\n" * 1_000_000)
    reply = ask_inspection(path)
    assert reply.content["num_rows"] == 1_000_000
    assert reply.peak_bytes <= BYTES


def test_names_for_people_stand_in_for_the_names_of_stored_files(tmp_path: Path) -> None:
    found = inspect_file(written(tmp_path, b"", "0a1b2c"), name="my reviews.csv")
    assert str(found.problems[0]) == "my reviews.csv: is empty. Check the export."
