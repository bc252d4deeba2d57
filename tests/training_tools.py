"""A small task, configurations and a recording reporter for tests of the training engine."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome, StopKind
from core.training.group import Member, WarmBackbones, train_group

NUMBERS = ("best_step", "dev", "test", "train_loss", "flags")
FILLERS = (
    "a",
    "and",
    "are",
    "at",
    "be",
    "book",
    "film",
    "he",
    "in",
    "is",
    "our",
    "she",
    "the",
    "was",
)
GOOD, BAD = ("good", "great", "yes"), ("bad", "wrong", "no")


def write_task(folder: Path, *, train: int = 48, val: int = 21, test: int = 27) -> Path:
    """Write texts of 3 to 40 words; the label tells whether a good or a bad word is among them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    for stem, count in (("train", train), ("val", val), ("test", test)):
        rows = []
        for index in range(count):
            words = draw.choices(FILLERS, k=draw.choice((3, 4, 5, 9, 12, 20, 40)))
            label = index % 2
            words.insert(draw.randrange(len(words)), draw.choice(GOOD if label else BAD))
            rows.append({"text": " ".join(words) + f" {stem} {index}", "label": f"l{label}"})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")
    return folder


def run_config(
    method: Any,
    *,
    task: Path,
    backbone: Mapping[str, Any],
    data: int = 0,
    init: int = 0,
    **training: Any,
) -> RunConfig:
    """Make a run of a method on a folder; keywords go to ``training``.

    It is not audited unless ``audit`` is true: an audit takes longer than such a training.
    """
    sizes = {"max_updates": 6, "batch_size": 8, "max_tokens": 64, "evaluations": 2}
    settings = {**sizes, "audit": False, **training}
    recipe = parse_recipe(
        {
            "name": "test",
            "tasks": [{"name": "own", "folder": str(task)}],
            "methods": [method],
            "backbones": [dict(backbone)],
            "training": settings,
            "seeds": {"data": [data], "init": [init]},
        }
    )
    return recipe.runs()[0]


class Recorder:
    """Keeps everything that training tells; ``stop`` decides when a run is asked to stop."""

    def __init__(
        self, stop: Callable[[str, int], StopKind | None] = lambda run_id, step: None
    ) -> None:
        self.losses: dict[str, dict[int, str]] = {}
        self.scalars_at: dict[str, dict[int, dict[str, float]]] = {}
        self.histograms: dict[tuple[str, str], dict[int, list[int]]] = {}
        self.checkpoints: dict[str, list[Checkpoint]] = {}
        self.endings: dict[str, Ending] = {}
        self.phases: dict[str, list[str]] = {}
        self.notices: dict[str, list[str]] = {}
        self._stop = stop
        self._step: dict[str, int] = {}

    def progress(self, run_id: str, progress: Progress) -> None:
        self.phases.setdefault(run_id, []).append(progress.phase)
        self._step[run_id] = progress.step

    def scalars(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        self._step[run_id] = step
        if "train/loss" in values:
            self.losses.setdefault(run_id, {})[step] = values["train/loss"].hex()
        else:
            self.scalars_at.setdefault(run_id, {})[step] = dict(values)

    def histogram(self, run_id: str, name: str, step: int, counts: Sequence[int]) -> None:
        self.histograms.setdefault((run_id, name), {})[step] = list(counts)

    def checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        assert (checkpoint.folder / "manifest.json").is_file()
        self.checkpoints.setdefault(run_id, []).append(checkpoint)

    def notice(self, run_id: str, text: str) -> None:
        self.notices.setdefault(run_id, []).append(text)

    def ended(self, run_id: str, ending: Ending) -> None:
        assert run_id not in self.endings, "ended twice"
        self.endings[run_id] = ending

    def stop_wanted(self, run_id: str) -> StopKind | None:
        return self._stop(run_id, self._step.get(run_id, 0))


def train(
    configs: list[RunConfig],
    folder: Path,
    warm: WarmBackbones,
    recorder: Recorder | None = None,
    data: Sequence[Path] = (),
) -> Recorder:
    recorder = recorder or Recorder()
    members = [Member(f"r{i}", config, folder / f"r{i}") for i, config in enumerate(configs)]
    train_group(members, recorder, warm, data)
    return recorder


def succeeded(recorder: Recorder, run_id: str = "r0") -> Ending:
    """The ending of a run that came to its end."""
    ending = recorder.endings[run_id]
    assert ending.outcome is Outcome.SUCCEEDED, ending.detail
    return ending


def assert_same_as_alone(
    configs: list[RunConfig], folder: Path, warm: WarmBackbones, data: Sequence[Path] = ()
) -> Recorder:
    """Train runs together and each alone: every loss, weight and prediction must be the same."""
    together = train(configs, folder / "together", warm, data=data)
    for index, config in enumerate(configs):
        alone = train([config], folder / f"alone{index}", warm, data=data)
        assert together.losses[f"r{index}"] == alone.losses["r0"]
        assert digest(together, f"r{index}") == digest(alone, "r0")
    return together


def digest(recorder: Recorder, run_id: str) -> dict[str, Any]:
    """Everything of a finished run that must not depend on partners or interruptions."""
    ending = succeeded(recorder, run_id)
    weights = (ending.files["adapter"] / "adapter.safetensors").read_bytes()
    result = ending.result
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "predictions": pq.read_table(ending.files["predictions"]).to_pylist(),
        "numbers": {key: result[key] for key in NUMBERS},
        "scalars": recorder.scalars_at[run_id],
    }
