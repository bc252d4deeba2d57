"""Train a few updates and say what memory it took; started as a process of its own.

    python -m tests.memory_probe FOLDER METHOD BATCH_SIZE MAX_TOKENS

Prints ``imported peak`` in bytes: resident memory before training, and the most during it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core.training.group import WarmBackbones
from tests.training_tools import run_config, succeeded, train


def resident(name: str) -> int:
    """Read a figure of this process from the system, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (found,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) * 1024


def write_long_texts(folder: Path, words: int, examples: int) -> Path:
    """Write a task whose inputs are all longer than what is kept of them."""
    folder.mkdir(parents=True)
    for stem, count in (("train", examples), ("val", 8), ("test", 8)):
        rows = [
            {"text": f"{'word ' * words}{stem} {index}", "label": f"l{index % 2}"}
            for index in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")
    return folder


def main() -> None:
    """Train and print."""
    folder, method = Path(sys.argv[1]), sys.argv[2]
    batch_size, max_tokens = int(sys.argv[3]), int(sys.argv[4])
    imported = resident("VmRSS")
    config = run_config(
        method,
        task=write_long_texts(folder / "task", max_tokens, 2 * batch_size),
        backbone={"name": "minilm"},
        batch_size=batch_size,
        max_tokens=max_tokens,
        max_updates=2,
    )
    succeeded(train([config], folder / "run", WarmBackbones(offline=True, threads=1)))
    sys.stdout.write(f"{imported} {resident('VmHWM')}\n")


if __name__ == "__main__":
    main()
