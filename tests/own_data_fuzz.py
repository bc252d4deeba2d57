"""Files that somebody could upload: good ones, damaged ones, and what was never a table."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.own.conversion import convert
from core.data.own.inspection import inspect
from core.data.own.model import ColumnMapping, Inspection, Reading, Report
from core.data.readers import read_rows
from tests.malformed_files import MALFORMED, zipped

SEED = 20_230_302
SECONDS = 2.0
"""Processor time that one input may take."""

PIECES = (
    "a text", "é", "映画", "😀", "\u202e", "\u2028", "\x85", "\x1c", "\x0b", "\ufeff", "\u0301",
    "NA", "null", "nan", "", " ", "\t", ",", ";", '"', '""', "'", "\n", "\r\n", "\r", "=1+1",
    "x" * 300, "\\", "\\n", "{", "}", "[", "0", "-1", "1e9999", "<b>", "train", "test", "val",
)  # fmt: skip
TOKENS = (
    b'"', b'""', b",", b"\t", b";", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xfe",
    b"\xef\xbb\xbf", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"{", b"}", b"[" * 3_000, b"NaN",
    b"Infinity", b"1e400", b"9" * 5_000, b"\\ud800", b"\\u0000", b'"text"', b":", b"null", b"PAR1",
    b"PK\x03\x04", b"\x1f\x8b", b"text,label\n", b"\n\n\n", b"\xf0\x9f\x98\x80", b"\x80",
)  # fmt: skip
PAST = (
    b'text,label\n"a"\r\r\nb,x\n',  # a carriage return after a closing quote was swallowed
    b'{"text": "a", "label": "x"}\n{"text": "a\\ud800", "label": "y"}\n',
    b'"text","label"\n"\n' * 50,
    b"\xef\xbb\xbf\xef\xbb\xbftext,label\na,x\n",
    b"text,label\r\na,x\r\nb,y",
    b'{"": "a", "label": "x"}\n{"": "b", "label": "y"}\n',  # a key without a name was taken
    b"text,label\n" + b"\x85,\x85\n" * 3,
    b"PAR1PAR1",
    b"\xff\xfe",
    b"\xff\xfea",
)
"""Inputs that a reader once got wrong, or easily could."""


class Outcome(NamedTuple):
    """What became of an input."""

    inspection: Inspection
    report: Report | None
    seconds: float


def _text(draw: random.Random) -> str:
    return "".join(draw.choices(PIECES, k=draw.randint(0, 4)))


def _rows(draw: random.Random) -> tuple[list[str], list[list[str]]]:
    header = draw.choice((["text", "label"], ["label", "a", "b"], ["text", "label", "split", "id"]))
    labels = [_text(draw) for _ in range(draw.randint(1, 4))]
    splits = draw.choice((["train", "test"], ["train"], ["train", "dev", "?"]))
    rows = []
    for number in range(draw.randint(0, 30)):
        kinds = {"label": draw.choice(labels), "split": draw.choice(splits), "id": str(number)}
        rows.append([kinds.get(name) or f"{_text(draw)}{number}" for name in header])
    return header, rows


def _delimited(draw: random.Random) -> bytes:
    header, rows = _rows(draw)
    target = io.StringIO()
    writer = csv.writer(
        target,
        delimiter=draw.choice(",\t;"),
        quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
        lineterminator=draw.choice(("\n", "\r\n")),
    )
    writer.writerows([header, *rows])
    odd = ("utf-8-sig", "utf-16", "utf-16-le", "cp1252", "gb18030")
    encoding = draw.choice(odd) if draw.random() < 0.4 else "utf-8"
    return target.getvalue().encode(encoding, "replace")


def _jsonl(draw: random.Random) -> bytes:
    header, rows = _rows(draw)
    odd = draw.choice((None, True, 1.5, ["x"], {"k": "v"}, 10**25))
    objects = [dict(zip(header, row, strict=True)) for row in rows]
    if objects and draw.random() < 0.3:
        draw.choice(objects)[draw.choice(header)] = odd
    return "".join(
        json.dumps(entry, ensure_ascii=draw.random() < 0.5) + "\n" for entry in objects
    ).encode()


def _parquet(draw: random.Random) -> bytes:
    header, rows = _rows(draw)
    columns: dict[str, object] = {
        name: [row[place] for row in rows] for place, name in enumerate(header)
    }
    odd = draw.choice(([1], [1.5], [None], [b"x"], [["x"]], [{"k": 1}]))
    columns["odd"] = odd * len(rows)
    target = io.BytesIO()
    compression = draw.choice(("none", "snappy", "zstd", "gzip"))
    pq.write_table(pa.table(columns), target, compression=compression, row_group_size=7)
    return target.getvalue()


def _damaged(draw: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randint(0, len(damaged))
        action = draw.randrange(5)
        if action == 0:
            damaged[place:place] = draw.choice(TOKENS)
        elif action == 1:
            del damaged[place : place + draw.randint(1, 40)]
        elif action == 2 and damaged:
            damaged[place % len(damaged)] = draw.randrange(256)
        elif action == 3:
            damaged[place:place] = damaged[place : place + 200] * draw.randint(1, 5)
        else:
            del damaged[place:]
    return bytes(damaged)


def _junk(draw: random.Random) -> bytes:
    kind = draw.randrange(4)
    if kind == 0:
        return draw.randbytes(draw.randint(0, 3_000))
    if kind == 1:
        return b"".join(draw.choices(TOKENS, k=draw.randint(0, 60)))
    if kind == 2:
        return draw.choice((gzip.compress, lambda text: zipped("a.csv", text.decode())))(
            b"text,label\n" * draw.randint(1, 5_000)
        )
    return draw.choice([content for content, _ in MALFORMED.values()])


def fuzzed(seed: int, number: int) -> bytes:
    """Make the input of a number; the first ones are past failures."""
    if number < len(PAST):
        return PAST[number]
    draw = random.Random(f"{seed} {number}")
    make = draw.choice((_delimited, _delimited, _jsonl, _jsonl, _parquet, _junk))
    content = make(draw)
    return _damaged(draw, content) if draw.random() < 0.6 else content


def mapping_for(found: Inspection) -> ColumnMapping | None:
    """Map what was guessed, or whatever columns there are."""
    names = [column.name for column in found.columns if not column.refused]
    if len(names) < 2:
        return None
    texts = found.columns_for("text")[:2] or (names[0],)
    label = (*found.columns_for("label"), *(name for name in names if name not in texts))
    split = found.columns_for("split")
    if not label:
        return None
    return ColumnMapping(texts, label[0], split[0] if split else "", on_missing="drop")


def read(content: bytes, folder: Path) -> Outcome:
    """Inspect and convert one input in this process, and check what was written."""
    path = folder / "data.csv"
    path.write_bytes(content)
    started = time.process_time()
    found = inspect(path)
    mapping = mapping_for(found)
    report: Report | None = None
    with tempfile.TemporaryDirectory(dir=folder) as out:
        if mapping:
            report = convert({"train": path}, mapping, Path(out), Reading())
            check_written(found, report, Path(out))
    return Outcome(found, report, time.process_time() - started)


def check_written(found: Inspection, report: Report, folder: Path) -> None:
    """Assert that either problems are told and nothing is there, or every row is."""
    files = sorted(folder.iterdir())
    if report.problems:
        assert not files
        return
    # Of Parquet only the mapped columns are read; another one may be damaged.
    assert found.is_usable or found.format == "parquet"
    written = [row.fields for path in files for row in read_rows(path)]
    assert len(written) == sum(report.counts.values())
    assert len(written) == found.num_rows - report.dropped or not found.is_usable
    assert {row["label"] for row in written} == set(report.labels)
    assert {path.stem for path in files} == set(report.digests)
