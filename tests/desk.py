"""A database, settings and rings that a test of actions works with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import actions
from core.errors import RecipeErrors
from core.recipe import Recipe
from core.settings import Settings
from core.store import queries
from core.store.session import Store


@dataclass(frozen=True)
class Desk:
    """What a test works with."""

    store: Store
    settings: Settings
    rings: list[str]

    def submit(self, wanted: Recipe, key: str = "") -> tuple[str, ...]:
        study = actions.submit_recipe(
            self.store, wanted, settings=self.settings, idempotency_key=key
        )
        return study.run_ids

    def problems(self, wanted: Recipe) -> dict[str, str]:
        with pytest.raises(RecipeErrors) as caught:
            self.submit(wanted)
        return {problem.field: str(problem) for problem in caught.value.problems}

    def num_runs(self) -> int:
        with self.store.read() as session:
            return sum(queries.home(session).states.values())


def write_task(folder: Path, *, labels: Sequence[str], each: int) -> Path:
    """Write an official-looking folder with ``each`` different pairs of every label in train."""
    folder.mkdir()
    for stem, count in (("train", each), ("val", 4)):
        lines = [
            {"premise": f"{label} {stem} {number}", "hypothesis": "so it is", "label": label}
            for number in range(count)
            for label in labels
        ]
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
