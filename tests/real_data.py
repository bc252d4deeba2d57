"""Real data that stands beside a checkout, for the tests that use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.examples import TaskData
from core.data.tasks import read_task
from core.recipe import Selection
from core.recipe_parts import TaskChoice
from core.regimes import Source

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def need_real_data(what: str) -> Path:
    """Return the folder of the real files; skip a test of ``what`` where it is not."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no {REAL_DATA}: {what} not tested on real files")
    return REAL_DATA


def real_task(
    name: str, *, selection: Selection = "refit", source: Source = "official", template: str = ""
) -> TaskData:
    """Read a task, with all of train uncut unless told otherwise; skip where it has no files."""
    folders = (need_real_data(f"{name} is"),)
    choice = TaskChoice(name=name, template=template)
    return read_task(choice, folders, selection=selection, source=source)
