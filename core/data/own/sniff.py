"""What a file is by its content; its suffix says nothing."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path
from typing import NamedTuple

from core.data.own.model import ENCODINGS, Limits, Reading
from core.data.own.problems import Problems

SAMPLE = 65_536
TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1b\x1c\x1d\x1e\x1f\x85")

UNPACK = "Archives are not taken; unpack it and give the file inside."
EXPORT = "Export the table as CSV (UTF-8) and give that."
NO_TABLE = "Give a CSV, TSV, JSONL or Parquet file."

MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (0, b"\x04\x22\x4d\x18", "an lz4 archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"%PDF-", "a PDF document", NO_TABLE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (xls, doc)", EXPORT),
    (0, b"{\\rtf", "an RTF document", NO_TABLE),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", NO_TABLE),
    (0, b"\xff\xd8\xff", "a JPEG image", NO_TABLE),
    (0, b"GIF87a", "a GIF image", NO_TABLE),
    (0, b"GIF89a", "a GIF image", NO_TABLE),
    (8, b"WEBP", "a WebP image", NO_TABLE),
    (0, b"II*\x00", "a TIFF image", NO_TABLE),
    (0, b"MM\x00*", "a TIFF image", NO_TABLE),
    (8, b"WAVE", "a WAV sound", NO_TABLE),
    (4, b"ftyp", "a video", NO_TABLE),
    (0, b"ID3", "an MP3 sound", NO_TABLE),
    (0, b"\x7fELF", "a program", NO_TABLE),
    (0, b"SQLite format 3\x00", "an SQLite database", EXPORT),
    (0, b"ARROW1", "an Arrow file", "Save the table as Parquet and give that."),
    (0, b"FEA1", "a Feather file", "Save the table as Parquet and give that."),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", EXPORT),
    (0, b"Obj\x01", "an Avro file", EXPORT),
    (0, b"\x80\x03", "a Python pickle", "Pickles are never opened; export the table as CSV."),
    (0, b"\x80\x04", "a Python pickle", "Pickles are never opened; export the table as CSV."),
    (0, b"\x80\x05", "a Python pickle", "Pickles are never opened; export the table as CSV."),
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        "Run `git lfs pull`.",
    ),
)
"""Offset, bytes, what it is, what to do."""

MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Sniffed(NamedTuple):
    """What a file is.

    Attributes:
        is_parquet: True for Parquet, else it is text.
        encoding: Encoding of the text, without its mark.
        mark: Bytes of the byte order mark that are skipped.
        note: What was found out by itself; may be empty.
    """

    is_parquet: bool
    encoding: str = ""
    mark: int = 0
    note: str = ""


def sniff(path: Path, reading: Reading, limits: Limits, problems: Problems) -> Sniffed:
    """Tell text, Parquet and everything else apart by the first bytes.

    Raises:
        Stopped: If the file is missing, too large, or no table.
    """
    _check_file(path, limits, problems)
    with path.open("rb") as stream:
        head = stream.read(SAMPLE)
    if head.startswith(b"PAR1"):
        return Sniffed(is_parquet=True)
    _refuse_known(head, problems)
    encoding, mark, note = _encoding(head, reading, problems)
    if not encoding.startswith("utf-16"):
        _refuse_binary(head, encoding, problems)
    _refuse_markup(head[mark : mark + 512], problems)
    return Sniffed(False, encoding, mark, note)


def _check_file(path: Path, limits: Limits, problems: Problems) -> None:
    try:
        found = path.stat()
    except OSError:
        problems.refuse("there is no such file, or it cannot be read.")
    if not stat.S_ISREG(found.st_mode):
        problems.refuse("is a folder or a device, not a file.", hint=NO_TABLE)
    if not found.st_size:
        problems.refuse("is empty.", hint="Check the export.")
    if found.st_size > limits.file_bytes:
        problems.refuse(
            f"has {found.st_size:,} bytes, at most {limits.file_bytes:,} are taken.",
            hint="Take a part of it, or save it as Parquet.",
        )


def _refuse_known(head: bytes, problems: Problems) -> None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        if b"xl/" in head or b"[Content_Types].xml" in head or b"word/" in head:
            problems.refuse("is an Office file (xlsx, docx), not text.", hint=EXPORT)
        if b"mimetypeapplication/vnd.oasis" in head:
            problems.refuse("is an OpenDocument file (ods, odt), not text.", hint=EXPORT)
        problems.refuse("is a zip archive.", hint=UNPACK)
    for offset, magic, what, hint in MAGIC:
        if head.startswith(magic, offset):
            problems.refuse(f"is {what}.", hint=hint)


def _encoding(head: bytes, reading: Reading, problems: Problems) -> tuple[str, int, str]:
    """Return encoding, length of the mark and a note."""
    wanted = _known_name(reading.encoding)
    if wanted and wanted not in ENCODINGS:
        problems.refuse(
            f"the encoding '{reading.encoding[:40]}' is not known.",
            hint=f"Choose one of {', '.join(ENCODINGS)}.",
        )
    for mark, encoding in MARKS:
        if not head.startswith(mark):
            continue
        if encoding == "utf-32":
            problems.refuse("is UTF-32 text.", hint="Save the file as UTF-8.")
        if wanted and wanted not in (encoding, encoding[:6]):
            problems.refuse(
                f"a byte order mark says {encoding}, the chosen encoding is {wanted}.",
                hint="Leave the encoding open.",
            )
        return encoding, len(mark), f"a byte order mark says {encoding}"
    if wanted == "utf-16":
        problems.refuse(
            "there is no byte order mark.", hint="Choose utf-16-le or utf-16-be as encoding."
        )
    return wanted or "utf-8", 0, ""


def _known_name(encoding: str) -> str:
    """Return our name of an encoding that is named in any usual way; else the name as it is."""
    name = encoding.strip().lower()
    if name in ENCODINGS or not name:
        return name
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return name
    # A mark is found and skipped anyway.
    codec = codec.removesuffix("-sig")
    return next((known for known in ENCODINGS if codecs.lookup(known).name == codec), name)


def _refuse_binary(head: bytes, encoding: str, problems: Problems) -> None:
    position = head.find(b"\x00")
    if position >= 0:
        problems.refuse(f"not a text file (NUL at byte {position + 1}).", hint=_nul_hint(head))
    if encoding != "utf-8" or is_utf8(head):
        return
    for position, byte in enumerate(head, start=1):
        if byte < 0x20 and byte not in TEXT_CONTROLS:
            problems.refuse(
                f"not a text file (byte 0x{byte:02x} at byte {position}).", hint=NO_TABLE
            )


def _nul_hint(head: bytes) -> str:
    """Recognise UTF-16 without a mark: every other byte of Latin text is NUL."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.6 * half and not even:
        return "It looks like UTF-16 without a byte order mark; choose utf-16-le as encoding."
    if even > 0.6 * half and not odd:
        return "It looks like UTF-16 without a byte order mark; choose utf-16-be as encoding."
    return NO_TABLE


def _refuse_markup(start: bytes, problems: Problems) -> None:
    text = start.replace(b"\x00", b"").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        problems.refuse(
            "is a web page.", hint="Download the file itself; the link led to a page about it."
        )
    if text.startswith(b"<?xml"):
        problems.refuse("is an XML document.", hint=NO_TABLE)


def is_utf8(sample: bytes) -> bool:
    """Tell whether a sample is UTF-8, the last character perhaps cut off."""
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def likely_encoding(sample: bytes) -> str:
    """Guess in words what text that is not UTF-8 looks like."""
    high = sum(1 for byte in sample if byte >= 0x80)
    undefined = sum(sample.count(byte) for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
    if high and not undefined and high < 0.3 * len(sample.translate(None, b" \t\r\n")):
        return "looks like windows-1252"
    return "which encoding it has cannot be told"
