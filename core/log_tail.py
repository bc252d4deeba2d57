"""The end of a log file as text that neither a terminal nor a page obeys."""

from __future__ import annotations

import os
import re
from pathlib import Path

SHOWN_BYTES = 16 * 1024

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Colours and cursor moves (CSI), titles and links (OSC), and the short escapes of a terminal."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters besides tab and line feed, and signs that turn the direction of writing."""


def read_tail(path: Path) -> str:
    """Last ``SHOWN_BYTES`` of a file as plain text; "" when it cannot be read.

    A first line that is cut off is left out.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            # One byte more, so that a line which begins exactly there is kept.
            start = max(0, end - SHOWN_BYTES - 1)
            file.seek(start)
            content = file.read(SHOWN_BYTES + 1)
    except OSError:
        return ""
    if start and b"\n" in content:
        content = content.partition(b"\n")[2]
    return plain(content.decode("utf-8", errors="replace"))


def plain(text: str) -> str:
    """Take out what a terminal would obey, and all but the last ``SHOWN_BYTES`` characters.

    Of a line that was written over (a progress bar) only its last state is kept.
    """
    lines = ESCAPES.sub("", text).split("\n")
    kept = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return CONTROLS.sub("", "\n".join(kept))[-SHOWN_BYTES:]
