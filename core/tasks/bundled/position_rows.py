"""Rows of the bundled position task: the cue tells which of four words decides; seeded."""

from __future__ import annotations

import random
from itertools import product

from core.backbones.position.words import CLASSES, CUES, CUES_A_TEXT

SEED = 7
WORDS = 10
PLACES = (0, 3, 6, 9)
COUNTS = {"train": 2400, "val": 400, "test": 1000}


def make_position() -> dict[str, list[dict[str, int | str]]]:
    """Make all splits; no text stands twice, and all pairs of class and place are as frequent."""
    rng = random.Random(SEED)
    known: set[str] = set()
    return {split: _rows(count, rng, known) for split, count in COUNTS.items()}


def _rows(count: int, rng: random.Random, known: set[str]) -> list[dict[str, int | str]]:
    cells = list(product(CLASSES, range(len(PLACES))))
    rows: list[dict[str, int | str]] = []
    while len(rows) < count:
        label, place = cells[len(rows) % len(cells)]
        text = _text(label, place, rng)
        if text not in known:
            known.add(text)
            rows.append({"text": text, "label": label, "place": place})
    rng.shuffle(rows)
    return rows


def _text(label: str, place: int, rng: random.Random) -> str:
    """Draw words of any class, one of the label's where the cue points, and the cue behind them."""
    kinds = [rng.choice(list(CLASSES)) for _ in range(WORDS)]
    kinds[PLACES[place]] = label
    words = [rng.choice(CLASSES[kind]) for kind in kinds]
    return " ".join(words + [rng.choice(CUES[place]) for _ in range(CUES_A_TEXT)])
