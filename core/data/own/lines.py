"""From bytes to lines of text: strictly decoded, one after the other, never a whole file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from core.data.own.model import Limits
from core.data.own.problems import Problems
from core.data.own.sniff import SAMPLE, Sniffed, likely_encoding

CHUNK = 262_144


class Lines:
    """The lines of a text file; an iteration starts at its beginning.

    A line ends at a newline character only, which stays at its end.

    Args:
        path: The file.
        sniffed: Its encoding and mark.
        limits: How long a line may be.
        problems: Where problems go.
    """

    def __init__(self, path: Path, sniffed: Sniffed, limits: Limits, problems: Problems) -> None:
        self._path = path
        self._sniffed = sniffed
        self._limits = limits
        self._problems = problems

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield number, from 1, and text of each line.

        Raises:
            Stopped: At what is not valid in the encoding, at a NUL, or at a much too long line.
        """
        number, parts, length = 1, list[str](), 0
        for text in self._decoded():
            pieces = text.split("\n")
            for piece in pieces[:-1]:
                parts.append(piece)
                self._check_length(length + len(piece), number)
                yield number, "".join(parts) + "\n"
                number, parts, length = number + 1, [], 0
            if pieces[-1]:
                parts.append(pieces[-1])
                length += len(pieces[-1])
                # The rest of a line that is too long is counted, not kept.
                if length > self._limits.record_characters:
                    parts = []
        self._check_length(length, number)
        if parts:
            yield number, "".join(parts)

    def sample(self) -> list[str]:
        """Return the complete lines in the first part of the file, at least one."""
        found: list[str] = []
        size = 0
        for _, line in self:
            found.append(line)
            size += len(line)
            if size > SAMPLE:
                break
        return found

    def _check_length(self, length: int, number: int) -> None:
        if length > self._limits.record_characters:
            self._problems.refuse(
                f"the line has {length:,} characters; a text may have at most "
                f"{self._limits.text_characters:,}.",
                number,
                hint="Is it the right file, with one row a line?",
            )

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self._sniffed.encoding)("strict")
        with self._path.open("rb") as stream:
            done = len(stream.read(self._sniffed.mark))
            while True:
                chunk = stream.read(CHUNK)
                pending = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    self._refuse_bytes(done - pending + error.start)
                nul = text.find("\x00")
                if nul >= 0:
                    before = text[:nul].encode(self._sniffed.encoding)
                    self._refuse_nul(done - pending + len(before))
                yield text
                if not chunk:
                    return
                done += len(chunk)

    def _refuse_bytes(self, position: int) -> None:
        line, byte, context = self._place(position)
        encoding = self._sniffed.encoding
        if encoding != "utf-8":
            self._problems.refuse(
                f"not valid {encoding} at byte {byte}.", line, hint="Choose another encoding."
            )
        self._problems.refuse(
            f"not valid UTF-8 at byte {byte}; {likely_encoding(context)}.",
            line,
            hint="Choose the encoding, or save the file as UTF-8.",
        )

    def _refuse_nul(self, position: int) -> None:
        line, byte, _ = self._place(position)
        self._problems.refuse(
            f"a NUL character at byte {byte}; this is not a text file.",
            line,
            hint="Export the table anew.",
        )

    def _place(self, position: int) -> tuple[int, int, bytes]:
        """Line and byte in it of a position in the file, and some bytes of that line."""
        wide = self._sniffed.encoding.startswith("utf-16")
        newline = "\n".encode(self._sniffed.encoding) if wide else b"\n"
        line, start, done = 1, 0, 0
        with self._path.open("rb") as stream:
            while done < position:
                chunk = stream.read(min(CHUNK, position - done))
                if not chunk:
                    break
                line += chunk.count(newline)
                last = chunk.rfind(newline)
                if last >= 0:
                    start = done + last + len(newline)
                done += len(chunk)
            stream.seek(start)
            context = stream.read(SAMPLE)
        return line, position - start + 1, context
