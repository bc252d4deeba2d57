"""Files that are wrong, each with the sentence that a person reads about it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile


def zipped(name: str, text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return target.getvalue()


def tar_with_link() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("../outside")
        member.type = tarfile.SYMTYPE
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    return target.getvalue()


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (
        b"",
        ": is empty. Check the export.",
    ),
    "blank lines": (
        b"\n\r\n\n",
        ": holds no rows. Check the export.",
    ),
    "header only": (
        b"text,label\n",
        ": holds no rows. Check the export.",
    ),
    "too few cells": (
        b"text,label\na,x\nb\nc,y\n",
        ", line 3: 1 cell, but the header names 2 columns. Is a cell missing, or a text "
        "broken over two lines?",
    ),
    "too many cells": (
        b"text,label\na,b,x\nc,y\n",
        ", line 2: 3 cells, but the header names 2 columns. A cell that contains the "
        "delimiter must stand in double quotes.",
    ),
    "unquoted comma in half": (
        b"text,label\nHello, you,x\nfine,y\n",
        ", line 2: 3 cells, but the header names 2 columns. A cell that contains the "
        "delimiter must stand in double quotes.",
    ),
    "duplicate header": (
        b"text,label,text\na,x,b\n",
        ", line 1: the column name 'text' occurs 2 times. Give every column a name of its own.",
    ),
    "empty header cell": (
        b"text,,label\na,b,c\n",
        ", line 1: column 2 has no name. Give every column a name.",
    ),
    "trailing comma in header": (
        b"text,label,\na,x,\n",
        ", line 1: column 3 has no name. Give every column a name.",
    ),
    "no header, numbers": (
        b"good film,1\nbad film,0\n",
        ", line 1: '1' is no column name; the file seems to have no header. Put the names of "
        "the columns on the first line.",
    ),
    "no header, labels": (
        b"good film,pos\nbad film,neg\nfine film,pos\nsad,neg\n",
        ", line 1: the column 'pos' also has the value 'pos'; the file seems to have no "
        "header. Put the names of the columns on the first line.",
    ),
    "header is a sentence": (
        b"x" * 200 + b",pos\nb,neg\n",
        ", line 1: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is no column name; the file "
        "seems to have no header. Put the names of the columns on the first line.",
    ),
    "header repeated": (
        b"text,label\na,x\ntext,label\nb,y\n",
        ", line 3: repeats the header. Were files joined? Delete the line.",
    ),
    "unterminated quote": (
        b'text,label\n"a,x\nb,y\n',
        ", line 2: the double quote that opens a cell here is never closed. Inside a quoted "
        'cell write a double quote twice (""), or say that quotes mean nothing.',
    ),
    "unterminated quote late": (
        b'text,label\na,x\nb,"y\nc,x\n',
        ", line 3: the double quote that opens a cell here is never closed. Inside a quoted "
        'cell write a double quote twice (""), or say that quotes mean nothing.',
    ),
    "text after quote": (
        b'text,label\n"a"b,x\n',
        ", line 2: 'b' follows the double quote that closes a cell. Inside a quoted cell "
        'write a double quote twice (""), or say that quotes mean nothing.',
    ),
    "quote closed by next quote": (
        b'text,label\n"a,x\n"b",y\n',
        ", line 3: 'b' follows the double quote that closes a cell (the cell starts on line "
        '2). Inside a quoted cell write a double quote twice (""), or say that quotes mean '
        "nothing.",
    ),
    "lone carriage return": (
        b"text,label\na\rb,x\n",
        ", line 2: a carriage return stands alone inside the line. Save the file with usual "
        "line ends, or put the cell in double quotes.",
    ),
    "old Mac line ends": (
        b"text,label\ra,x\rb,y\r",
        ", line 1: a carriage return stands alone inside the line. Save the file with usual "
        "line ends, or put the cell in double quotes.",
    ),
    "doubled carriage return": (
        b"text,label\r\r\na,x\r\r\n",
        ", line 1: a carriage return stands alone inside the line. Save the file with usual "
        "line ends, or put the cell in double quotes.",
    ),
    "nul early": (
        b"text,label\na\x00,x\n",
        ": not a text file (NUL at byte 13). Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "nul late": (
        b"text,label\n" + b"a,x\n" * 20000 + b"b\x00,x\n",
        ", line 20,002: a NUL character at byte 2; this is not a text file. Export the table anew.",
    ),
    "png": (
        b"\x89PNG\r\n\x1a\n" + b"\0" * 20,
        ": is a PNG image. Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "jpeg": (
        b"\xff\xd8\xff\xe0aaa",
        ": is a JPEG image. Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "pdf": (
        b"%PDF-1.7\n",
        ": is a PDF document. Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "zip": (
        zipped("a.csv", "text,label\n"),
        ": is a zip archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "xlsx": (
        zipped("xl/workbook.xml", "<x/>"),
        ": is an Office file (xlsx, docx), not text. Export the table as CSV (UTF-8) and give"
        " that.",
    ),
    "gzip": (
        gzip.compress(b"text,label\n"),
        ": is a gzip archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "bz2": (
        bz2.compress(b"text,label\n"),
        ": is a bzip2 archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "xz": (
        lzma.compress(b"text,label\n"),
        ": is an xz archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "7z": (
        b"7z\xbc\xaf\x27\x1c\0\4",
        ": is a 7z archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "tar": (
        tar_with_link(),
        ": is a tar archive. Archives are not taken; unpack it and give the file inside.",
    ),
    "xls": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        ": is an old Office file (xls, doc). Export the table as CSV (UTF-8) and give that.",
    ),
    "pickle": (
        b"\x80\x04\x95",
        ": is a Python pickle. Pickles are never opened; export the table as CSV.",
    ),
    "elf": (
        b"\x7fELF\2\1\1\0",
        ": is a program. Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "sqlite": (
        b"SQLite format 3\0",
        ": is an SQLite database. Export the table as CSV (UTF-8) and give that.",
    ),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        ": is a Git LFS pointer, not the file itself. Run `git lfs pull`.",
    ),
    "html": (
        b"<!DOCTYPE html>\n<html>\n",
        ": is a web page. Download the file itself; the link led to a page about it.",
    ),
    "xml": (
        b'<?xml version="1.0"?>\n<a/>',
        ": is an XML document. Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "random bytes": (
        bytes([1, 2, 3, 200, 201, 7, 9, 255]),
        ": not a text file (byte 0x01 at byte 1). Give a CSV, TSV, JSONL or Parquet file.",
    ),
    "latin-1": (
        "text,label\nun café crème,x\n".encode("cp1252"),
        ", line 2: not valid UTF-8 at byte 7; looks like windows-1252. Choose the encoding, "
        "or save the file as UTF-8.",
    ),
    "cyrillic 1251": (
        "text,label\nхороший фильм о любви,да\n".encode("cp1251"),
        ", line 2: not valid UTF-8 at byte 1; which encoding it has cannot be told. Choose "
        "the encoding, or save the file as UTF-8.",
    ),
    "broken utf-8": (
        b"text,label\nfine,x\nfi\xc3,y\n",
        ", line 3: not valid UTF-8 at byte 3; looks like windows-1252. Choose the encoding, "
        "or save the file as UTF-8.",
    ),
    "truncated utf-8": (
        b"text,label\nfine,x\nfi\xe2\x82",
        ", line 3: not valid UTF-8 at byte 3; which encoding it has cannot be told. Choose "
        "the encoding, or save the file as UTF-8.",
    ),
    "utf-16 no mark": (
        "text,label\na,x\n".encode("utf-16-le"),
        ": not a text file (NUL at byte 2). It looks like UTF-16 without a byte order mark; "
        "choose utf-16-le as encoding.",
    ),
    "utf-16-be no mark": (
        "text,label\na,x\n".encode("utf-16-be"),
        ": not a text file (NUL at byte 1). It looks like UTF-16 without a byte order mark; "
        "choose utf-16-be as encoding.",
    ),
    "utf-32": (
        "text,label\n".encode("utf-32"),
        ": is UTF-32 text. Save the file as UTF-8.",
    ),
    "odd utf-16": (
        "text,label\na,x\n".encode("utf-16") + b"\x00",
        ", line 3: not valid utf-16-le at byte 1. Choose another encoding.",
    ),
    "65 columns": (
        (",".join(f"c{i}" for i in range(65)) + "\n").encode(),
        ", line 1: 65 columns, at most 64 are taken. Keep only the columns that are needed.",
    ),
    "json array": (
        b'[\n {"text": "a", "label": "x"}\n]\n',
        ": is a JSON array; JSONL holds one object a line. Write each object on a line of its"
        " own. With jq: jq -c '.[]' file.json > file.jsonl",
    ),
    "json array one line": (
        b'[{"text": "a"}]',
        ": is a JSON array; JSONL holds one object a line. Write each object on a line of its"
        " own. With jq: jq -c '.[]' file.json > file.jsonl",
    ),
    "pretty json": (
        b'{\n  "text": "a",\n  "label": "x"\n}\n',
        ", line 1: an object must stand on one line. Each line must be one JSON object.",
    ),
    "json trailing comma": (
        b'{"text": "a",}\n',
        ", line 1: not valid JSON (Expecting property name enclosed in double quotes, "
        "character 14). Each line must be one JSON object.",
    ),
    "json single quotes": (
        b"{'text': 'a'}\n",
        ", line 1: not valid JSON (Expecting property name enclosed in double quotes, "
        "character 2). Each line must be one JSON object.",
    ),
    "json two objects": (
        b'{"text": "a"}{"text": "b"}\n',
        ", line 1: not valid JSON (Extra data, character 14). Each line must be one JSON object.",
    ),
    "json not an object": (
        b'{"text": "a"}\n["b"]\n"c"\n3\n',
        ", line 2: not a JSON object. Each line must be one JSON object.",
    ),
    "json duplicate key": (
        b'{"text": "a", "label": "x", "text": "b"}\n',
        ", line 1: the key 'text' occurs twice. Name every key once.",
    ),
    "json duplicate nested": (
        b'{"text": "a", "m": {"k": 1, "k": 2}}\n',
        ", line 1: the key 'k' occurs twice. Name every key once.",
    ),
    "json NaN": (
        b'{"text": "a", "score": NaN}\n',
        ", line 1: NaN is not JSON. Write null.",
    ),
    "json infinity": (
        b'{"text": "a", "score": -Infinity}\n',
        ", line 1: -Infinity is not JSON. Write null.",
    ),
    "json digits": (
        b'{"text": "a", "n": ' + b"9" * 10000 + b"}\n",
        ", line 1: a number of 10,000 characters. Write it as a text.",
    ),
    "json depth": (
        b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}\n",
        ", line 1: nested too deeply. Keep only the keys that are needed.",
    ),
    "json lone surrogate": (
        b'{"text": "a\\ud83d", "label": "x"}\n',
        ", line 1: half a surrogate pair, \\ud83d, in a text. Was a text cut inside a "
        "character? Export it anew.",
    ),
    "json lone surrogate key": (
        b'{"te\\udc00xt": "a"}\n',
        ", line 1: half a surrogate pair, \\udc00, in a text. Was a text cut inside a "
        "character? Export it anew.",
    ),
    "json nul": (
        b'{"text": "a\\u0000b"}\n',
        ", line 1: a NUL character in a text. Take it out.",
    ),
    "json control": (
        b'{"text": "a\tb"}\n',
        ", line 1: not valid JSON (Invalid control character at, character 12). Each line "
        "must be one JSON object.",
    ),
    "json cut off": (
        b'{"text": "a", "label": "x"}\n{"text": "b", "la',
        ", line 2: not valid JSON (Unterminated string starting at, character 15). Each line "
        "must be one JSON object.",
    ),
    "json 65 keys": (
        json.dumps({f"k{i}": 1 for i in range(65)}).encode(),
        ", line 1: 65 different keys up to here, at most 64 are taken. Keep only the keys "
        "that are needed.",
    ),
    "json bad utf-8": (
        b'{"text": "a"}\n{"text": "\xff"}\n',
        ", line 2: not valid UTF-8 at byte 11; looks like windows-1252. Choose the encoding, "
        "or save the file as UTF-8.",
    ),
    "parquet cut off": (
        b"PAR1" + b"\0" * 10,
        ": damaged Parquet: Parquet magic bytes not found in footer. Either the file is "
        "corrupted or this is not a parquet file. Write the file anew.",
    ),
    "parquet garbage footer": (
        b"PAR1" + b"x" * 100 + b"\x10\0\0\0PAR1",
        ": damaged Parquet: Couldn't deserialize thrift: No more data to read. Write the file"
        " anew.",
    ),
}
"""Name of the fault: content of the file, and what is said after its name."""
