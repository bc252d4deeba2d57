"""Draws that are kept for the form are those that a run makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.draws import draw
from core.data.tasks import candidates, read_task, resolve
from core.recipe_parts import TaskChoice
from core.regimes import REGIMES
from tests.suite_files import write_lines

FEW = REGIMES["few_shot"].model_validate({"k": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder whose lines have two texts and two labels."""
    for stem in ("train", "val"):
        lines = [
            {"text": f"{stem} {n}", "title": f"{n} {stem}", "label": n % 2, "stars": n % 3}
            for n in range(60)
        ]
        write_lines(tmp_path / "own", stem, lines)
    return tmp_path / "own"


def test_other_fields_of_the_same_files_are_another_draw(folder: Path) -> None:
    for fields in ({}, {"text_fields": ("title",)}, {"label_field": "stars"}):
        choice = TaskChoice(name="own", folder=str(folder), **fields)
        data = read_task(choice)
        assert draw(choice, data, FEW, 0, selection="dev") == FEW.select(candidates(data), 0)


def test_every_fold_has_a_draw_of_its_own(folder: Path) -> None:
    choice = TaskChoice(name="own", folder=str(folder))
    for fold in range(5):
        data = read_task(choice, selection="fold", fold=fold)
        kept = draw(choice, data, FEW, 0, selection="fold", fold=fold)
        assert kept == FEW.select(candidates(data), 0)


def test_a_draw_is_made_once_for_a_task_before_and_after_it_is_queued(folder: Path) -> None:
    choice = TaskChoice(name="own", folder=str(folder))
    queued = resolve(choice)
    assert queued != choice
    first = draw(choice, read_task(choice), FEW, 7, selection="dev")
    assert draw(queued, read_task(queued), FEW, 7, selection="dev") is first
