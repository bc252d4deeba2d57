"""Reading people's files in a process of its own, with limits on memory and time."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.own.model import (
    AS_FOUND,
    USUAL,
    ColumnMapping,
    Inspection,
    Limits,
    Reading,
    Report,
    Sources,
    to_json,
)
from core.errors import DataError

KEPT_VARIABLES = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONUTF8": "1",
}
REMEDY = "Take a part of the file, or another format."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What the limited process said.

    Attributes:
        content: Its answer as JSON values.
        peak_bytes: Its largest resident memory.
        cpu_seconds: Processor time that it took.
    """

    content: Mapping[str, Any]
    peak_bytes: int
    cpu_seconds: float


def inspect_file(
    path: Path, reading: Reading = AS_FOUND, limits: Limits = USUAL, *, name: str = ""
) -> Inspection:
    """Tell what a file holds.

    Args:
        path: The file.
        reading: How it is to be read.
        limits: What it may hold and take.
        name: Name for messages, when the file was stored under another; empty: its own.

    Returns:
        The inspection; with ``problems`` when the file cannot be used.

    Raises:
        DataError: If reading took too much memory or time.
    """
    return Inspection.from_json(ask_inspection(path, reading, limits, name=name).content)


def ask_inspection(
    path: Path, reading: Reading = AS_FOUND, limits: Limits = USUAL, *, name: str = ""
) -> Reply:
    """Inspect a file; returns the raw reply with the memory that it took.

    Raises:
        DataError: If reading took too much memory or time.
    """
    question = _question("inspect", {"train": path}, reading, limits, {"train": name})
    return _ask(question, limits, name or path.name)


def convert_files(
    sources: Sources,
    mapping: ColumnMapping,
    folder: Path,
    reading: Reading = AS_FOUND,
    limits: Limits = USUAL,
    *,
    names: Mapping[str, str] | None = None,
) -> Report:
    """Write the normalised ``train.jsonl``, ``val.jsonl`` and ``test.jsonl`` of files.

    Args:
        sources: Files by split; one file alone is ``train``.
        mapping: Which column is what.
        folder: Existing folder to write to.
        reading: How the files are to be read.
        limits: What they may hold and take.
        names: Names for messages by split.

    Returns:
        The report; with problems nothing is left in the folder.

    Raises:
        DataError: If reading took too much memory or time; files may be left in the folder.
    """
    reply = ask_conversion(sources, mapping, folder, reading, limits, names=names)
    return Report.from_json(reply.content)


def ask_conversion(
    sources: Sources,
    mapping: ColumnMapping,
    folder: Path,
    reading: Reading = AS_FOUND,
    limits: Limits = USUAL,
    *,
    names: Mapping[str, str] | None = None,
) -> Reply:
    """Convert files; returns the raw reply with the memory that it took.

    Raises:
        DataError: If reading took too much memory or time.
    """
    question = {
        **_question("convert", sources, reading, limits, names or {}),
        "mapping": to_json(mapping),
        "folder": str(folder.resolve()),
    }
    return _ask(question, limits, ", ".join(path.name for path in sources.values()))


def _question(
    what: str, sources: Sources, reading: Reading, limits: Limits, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "do": what,
        "sources": {split: str(path.resolve()) for split, path in sources.items()},
        "names": {split: names.get(split) or path.name for split, path in sources.items()},
        "reading": to_json(reading),
        "limits": to_json(limits),
    }


def _ask(question: Mapping[str, Any], limits: Limits, file: str) -> Reply:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.data.own.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**kept, **QUIET},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(json.dumps(question).encode(), timeout=limits.wall_seconds)
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{file}: reading took more than {limits.wall_seconds:g} seconds.", hint=REMEDY
        ) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode == -signal.SIGXCPU:
        raise DataError(
            f"{file}: reading took more than {limits.cpu_seconds:g} seconds of processor time.",
            hint=REMEDY,
        )
    if process.returncode or not out:
        _log.error("the reader of a data file ended with %s: %s", process.returncode, err.decode())
        raise DataError(
            f"{file}: the reading process ended without an answer (code {process.returncode}).",
            hint=REMEDY,
        )
    reply = json.loads(out)
    if reply.get("out_of_memory"):
        raise DataError(
            f"{file}: reading needs more than {limits.memory_bytes // 1_000_000:,} MB of memory.",
            hint=REMEDY,
        )
    return Reply(reply["answer"], reply["peak_bytes"], reply["cpu_seconds"])
