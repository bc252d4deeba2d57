"""Of a task whose right places are known, a run's page counts its slots by the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.right_slots import slots_by_place
from core.errors import DataError
from core.recipe_files import parse_recipe
from core.reporting import Ending
from core.settings import Settings
from core.states import Outcome
from core.store import queries, runs, scalars, workers
from core.store.session import Store
from tests.integration.test_views_api import client_of, get
from tests.position_tools import FOUR_SLOTS, SLOTS, read
from tests.seeding import new_store
from tests.store_tools import submit

NAMES = ("front", "25 %", "50 %", "70 %")
WRONG = 40


def finish(store: Store, home: Path, table: pa.Table, **method: Any) -> str:
    """Put a finished run of the position task with these predictions into an empty store."""
    name = Path("runs/here/predictions.parquet")
    path = Settings(home=home).artifacts_path / name
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)  # type: ignore[no-untyped-call]
    recipe = {
        "name": "Places",
        "tasks": ["position"],
        "backbones": ["position"],
        "methods": [{**SLOTS, **method}],
    }
    (run_id,) = submit(store, parse_recipe(recipe)).run_ids
    with store.write() as session:
        worker = workers.register(session, name="w", role="train", host="here", pid=2)
        (claim,) = runs.claim(session, worker, 1)
        assert runs.started(session, claim.id, claim.fence)
        if method.get("position") != "fixed":
            scalars.append_histogram(session, claim.id, claim.fence, "slot", 10, [100] * 4)
        result = {"dev": {"accuracy": 0.8}, "flags": []}
        ending = Ending(Outcome.SUCCEEDED, result=result, files={"predictions": name})
        runs.end_attempt(session, claim.id, claim.fence, ending)
    return run_id


def predictions(count: int) -> pa.Table:
    """Right slots for all dev rows but the first, which take the front; and a row of test."""
    places = [row["place"] for row in read("val")][:count]
    slots = [NAMES[0 if index < WRONG else place] for index, place in enumerate(places)]
    return pa.table(
        {
            "task": ["position"] * (count + 1),
            "split": ["dev"] * count + ["test"],
            "index": [*range(count), 0],
            "slot": [*slots, NAMES[3]],
        }
    )


def test_slots_are_counted_by_the_right_one(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    run = finish(store, tmp_path, predictions(400))
    found = get(client_of(store, tmp_path), f"/runs/{run}/places")
    places = [row["place"] for row in read("val")]
    wrong = [place for place in places[:WRONG] if place]
    assert len(FOUR_SLOTS) == len(NAMES)
    assert found["slots"] == found["places"] == list(NAMES)
    for place in range(1, 4):
        missed, right = wrong.count(place), places.count(place) - wrong.count(place)
        expected = [0, 0, 0, 0]
        expected[0], expected[place] = missed, right
        assert found["counts"][place] == expected
    assert found["counts"][0] == [places.count(0), 0, 0, 0]
    assert found["right"] == pytest.approx(1 - len(wrong) / len(places))
    store.close()


def test_what_chooses_no_slot_has_no_table(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    run = finish(store, tmp_path, predictions(400), position="fixed")
    assert get(client_of(store, tmp_path), f"/runs/{run}/places") is None
    store.close()


def test_predictions_of_another_file_are_refused(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    run = finish(store, tmp_path, predictions(399))
    with store.read() as session:
        view = queries.run_view(session, run)
    with pytest.raises(DataError, match="399 dev examples"):
        slots_by_place(view, Settings(home=tmp_path))
    store.close()
