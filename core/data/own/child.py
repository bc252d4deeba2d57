"""The limited process: one question as JSON on standard input, one answer on standard output.

Limits are set before the file is opened. Memory is limited as address space above what the
interpreter and its libraries have mapped by then, so that the resident memory stays under the
wanted bound whatever the libraries reserve.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.data.own.model import ColumnMapping, Limits, Reading, to_json

MARGIN = 16_000_000
PAGE = resource.getpagesize()
PARQUET_MAGIC = b"PAR1"


def limit_time_and_output(limits: Limits) -> None:
    """Bound processor time and written bytes; no core dump."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    largest = limits.output_bytes + 10_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))


def limit_memory(resident: int) -> None:
    """Bound what can still be allocated, so that resident memory stays below a number of bytes."""
    mapped, used = _memory()
    wanted = mapped + max(resident - used - MARGIN, MARGIN)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _memory() -> tuple[int, int]:
    """Mapped and resident bytes of this process."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return 400_000_000, peak
    mapped, used = statm.read_text().split()[:2]
    return int(mapped) * PAGE, int(used) * PAGE


def peak_bytes() -> int:
    """Largest resident memory of this process so far; of the program alone, not of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one question; see ``core.data.own.limited`` for its form.

    Raises:
        MemoryError: If the file needs more memory than is given.
    """
    limits = Limits(**question["limits"])
    reading = Reading(**question["reading"])
    sources = {split: Path(path) for split, path in question["sources"].items()}
    names: dict[str, str] = question["names"]
    limit_time_and_output(limits)
    if any(map(_is_parquet, sources.values())):
        importlib.import_module("core.data.own.parquet")
    if question["do"] == "inspect":
        inspection = importlib.import_module("core.data.own.inspection")
        limit_memory(limits.memory_bytes)
        return to_json(
            inspection.inspect(sources["train"], reading, limits, name=names.get("train", ""))
        )
    conversion = importlib.import_module("core.data.own.conversion")
    limit_memory(limits.memory_bytes)
    report = conversion.convert(
        sources,
        ColumnMapping.from_json(question["mapping"]),
        Path(question["folder"]),
        reading,
        limits,
        names=names,
        before_cut=lambda: limit_memory(limits.cut_bytes),
    )
    return to_json(report)


def main() -> int:
    """Read the question, write the answer; 0 also when the file is bad."""
    question = json.load(sys.stdin)
    try:
        found: dict[str, Any] = {"answer": answer(question)}
    except MemoryError:
        found = {"out_of_memory": True}
    used = {"peak_bytes": peak_bytes(), "cpu_seconds": time.process_time()}
    sys.stdout.write(json.dumps({**found, **used}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
