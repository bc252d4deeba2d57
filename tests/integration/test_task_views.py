"""The comparison of several tasks as the browser gets it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import func, update
from starlette.testclient import TestClient

from app.api import compare
from app.api._errors import add_error_handlers
from core.settings import Settings
from core.store.models import Study
from tests.seeding_tasks import SeededTasks, seed_tasks


@pytest.fixture
def seeded(tmp_path: Path) -> Iterator[SeededTasks]:
    found = seed_tasks(tmp_path, suite=("rte", "multirc"), predictions=False)
    yield found
    found.store.close()


@pytest.fixture
def client(seeded: SeededTasks) -> TestClient:
    app = FastAPI()
    app.state.store, app.state.settings = seeded.store, Settings(home=seeded.home)
    add_error_handlers(app)
    app.include_router(compare.router, prefix="/api")
    return TestClient(app)


def get(client: TestClient, path: str) -> Any:
    answered = client.get(f"/api/compare{path}")
    assert answered.status_code == 200, answered.text
    return answered.json()


def highest(answer: Any) -> float:
    """Highest point of the curves; plotly packs numbers."""
    curves = [one["y"] for one in answer["figure"]["data"] if one.get("showlegend") is not False]
    return max(
        float(np.frombuffer(base64.b64decode(y["bdata"]), dtype=y["dtype"]).max()) for y in curves
    )


def test_tasks_of_a_joint_run_are_columns_that_can_be_left_out(client: TestClient) -> None:
    body = get(client, "?study=S2")
    assert body["tasks"] == ["cb", "rte", "wic"]
    assert [(column["task"], column["is_joint"]) for column in body["columns"]] == [
        ("cb", True), ("cb", False), ("rte", True), ("rte", False), ("wic", True), ("wic", False),
    ]  # fmt: skip
    assert len(body["gains"]) == 6
    assert {gain["n"] for gain in body["gains"]} == {3}
    rte = get(client, "?study=S2&task=rte")
    assert [column["task"] for column in rte["columns"]] == ["rte", "rte"]
    assert {gain["task"] for gain in rte["gains"]} == {"rte"}
    # What is averaged does not depend on what is looked at.
    assert rte["averages"] == body["averages"]


def test_learning_curves_of_a_joint_run_are_those_of_the_task(client: TestClient) -> None:
    cb, rte = (highest(get(client, f"/charts/learning_curve?study=S2&column={n}")) for n in (0, 2))
    assert cb > rte + 0.1
    assert get(client, "/charts/learning_curve?study=S1&extra=1&column=2")["figure"]["data"] == []


def test_metrics_are_offered_with_titles_and_the_tasks_own_come_first(client: TestClient) -> None:
    body = get(client, "?study=S1")
    assert [metric["name"] for metric in body["metrics"]] == [
        "accuracy", "f1a", "exact_match", "official",
    ]  # fmt: skip
    assert get(client, "?study=S1&metric=official")["metric"] == "official"
    assert get(client, "?study=S1&metric=nothing")["metric"] == "accuracy"


def test_what_is_only_scored_is_as_sealed_as_the_test(
    client: TestClient, seeded: SeededTasks
) -> None:
    assert get(client, "?study=S1")["extra_sets"] == ["ax-b", "ax-g"]
    with seeded.store.write() as session:
        session.execute(update(Study).values(closed_at=None, test_opened_at=None))
    for study in ("S1", "S2"):
        body = get(client, f"?study={study}&extra=1")
        assert (body["split"], body["extra_sets"], body["has_extra"]) == ("dev", [], False)
        assert "ax-b" not in {column["task"] for column in body["columns"]}


def test_runs_that_were_refitted_after_folds_say_so(
    client: TestClient, seeded: SeededTasks
) -> None:
    with seeded.store.write() as session:
        changed = func.replace(Study.recipe, '"folds":1', '"folds":5')
        session.execute(update(Study).values(recipe=changed))
    body = get(client, "?study=S1")
    assert {column["selection"] for column in body["columns"]} == {"refit"}
    assert "mean over five folds" in body["caption"]
    assert "refit on all of train" in body["columns"][0]["title"]
