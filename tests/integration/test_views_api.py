"""Routes behind the pages Run, Compare and Try it, over a store with runs in every state."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, update
from starlette.testclient import TestClient

from app import comparison
from app.api import compare, curves, predictions
from app.api._errors import add_error_handlers
from app.playground import best_of_each_method
from core.data.tasks import read_task
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.store import queries, studies
from core.store.models import Run, Study
from tests.seeding import (
    HOSTILE,
    TRAINABLE,
    UPDATES,
    Seeded,
    answer,
    answer_body,
    new_store,
    report,
    seed,
    train_slots,
)


def client_of(store: Any, home: Path) -> TestClient:
    """The routers under test in an application of their own."""
    app = FastAPI()
    app.state.store, app.state.settings = store, Settings(home=home)
    add_error_handlers(app)
    for router in (compare.router, curves.router, predictions.router):
        app.include_router(router, prefix="/api")
    return TestClient(app)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """A filled store; tests that change it are written so that the others do not notice."""
    found = seed(tmp_path_factory.mktemp("home"))
    yield found
    found.store.close()


@pytest.fixture
def client(seeded: Seeded, tmp_path: Path) -> TestClient:
    """A browser without pages."""
    return client_of(seeded.store, tmp_path)


def get(client: TestClient, path: str, status: int = 200) -> Any:
    """JSON of an answer with this status."""
    answered = client.get(f"/api{path}")
    assert answered.status_code == status, answered.text
    return answered.json()


# ---- run


def test_a_finished_run_tells_its_result_and_what_it_is(client: TestClient, seeded: Seeded) -> None:
    body = get(client, f"/runs/{seeded.dynamic}")
    assert body["row"]["state"] == "succeeded"
    assert "a cut chosen for each input" in body["sentence"]
    assert body["config"]["method"]["num_virtual_tokens"] == 10
    assert body["result"]["test"]["accuracy"] == pytest.approx(0.735)
    assert body["histograms"] == ["cut"]


def test_a_run_is_found_by_its_short_name(client: TestClient, seeded: Seeded) -> None:
    slug = get(client, f"/runs/{seeded.running}")["row"]["slug"]
    assert get(client, f"/runs/{slug}")["row"]["id"] == seeded.running


def test_an_unknown_run_is_not_found(client: TestClient) -> None:
    for path in ("/runs/nothing", "/runs/nothing/curves", "/runs/nothing/log"):
        assert get(client, path, 404)["code"] in ("not_found", "http")


def test_a_live_run_tells_progress_attempts_and_no_test(client: TestClient, seeded: Seeded) -> None:
    body = get(client, f"/runs/{seeded.running}")
    assert body["row"]["seconds_left"] > 0
    assert [one["resumed_from_step"] for one in body["attempts"]] == [0, 30]
    assert "signal 9" in body["attempts"][0]["detail"]
    assert body["study"]["name"] == HOSTILE
    assert "test" not in body["result"]


def test_curves_come_once_and_then_only_what_is_new(client: TestClient, seeded: Seeded) -> None:
    first = get(client, f"/runs/{seeded.running}/curves?names=train/loss")
    assert first["reset"] is True
    steps = first["curves"]["train/loss"]["steps"]
    assert steps == sorted(set(steps))
    assert steps[-1] >= 60
    report(seeded.store, seeded, steps[-1] + 5)
    path = f"/runs/{seeded.running}/curves?names=train/loss&cursor="
    second = get(client, path + first["cursor"])
    assert second["reset"] is False
    assert second["curves"]["train/loss"]["steps"] == list(range(steps[-1] + 1, steps[-1] + 6))
    assert get(client, path + second["cursor"])["curves"] == {}


@pytest.mark.parametrize("cursor", ["", "garbage", "[7,{}]", '[1,{"train/loss":"x"}]', "[]"])
def test_a_cursor_that_does_not_fit_starts_anew(
    client: TestClient, seeded: Seeded, cursor: str
) -> None:
    page = get(client, f"/runs/{seeded.dynamic}/curves?cursor={cursor}")
    assert page["reset"] is True
    assert len(page["curves"]["train/loss"]["steps"]) == UPDATES


def test_an_audit_is_told_in_words_and_as_a_figure(client: TestClient, seeded: Seeded) -> None:
    body = get(client, f"/runs/{seeded.dynamic}")
    (one,) = body["audit"]
    assert "1,000 of 1,200 dev examples" in one["about"]
    labels = {line["kind"]: line["label"] for line in one["lines"]}
    assert list(labels) == [
        "own", "mixture", "modal", "shuffled", "uniform", "best_fixed", "best_each",
    ]  # fmt: skip
    notes = {line["kind"]: line["note"] for line in one["lines"]}
    assert notes["modal"] == "cut 4 for all"
    assert "biased upwards" in notes["best_each"]
    assert one["gains"] == [
        ["most frequent", 0.027, -0.004, 0.058],
        ["shuffled", 0.042, 0.016, 0.069],
    ]
    assert "0.213 nats" in one["told"]
    assert len(one["fixed"]) == 11
    assert "does not mean" in body["audit_meaning"]
    bars, dots = get(client, f"/runs/{seeded.dynamic}/audit/0")["figure"]["data"]
    assert bars["y"] == list(labels.values())
    assert bars["x"][0] == 0.747
    assert len(dots["x"]) == 11
    assert get(client, f"/runs/{seeded.dynamic}/audit/1")["figure"] is None
    assert get(client, f"/runs/{seeded.failed}")["audit"] == []


def test_cuts_are_a_figure_until_nothing_is_new(client: TestClient, seeded: Seeded) -> None:
    path = f"/runs/{seeded.dynamic}/histograms/cut"
    page = get(client, path)
    assert page["last"] == UPDATES
    assert page["figure"]["data"][0]["type"] == "heatmap"
    assert get(client, f"{path}?after={page['last']}")["figure"] is None
    assert get(client, f"/runs/{seeded.queued}/histograms/cut") == {"last": -1, "figure": None}


def test_slots_and_lengths_are_figures_with_the_names_of_the_runs_config(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    client, run = client_of(store, tmp_path), train_slots(store)
    assert get(client, f"/runs/{run}")["histograms"] == ["length", "slot"]
    for axis, labels in (("slot", ["front", "50 %", "border", "end"]), ("length", ["1", "2", "3"])):
        figure = get(client, f"/runs/{run}/histograms/{axis}")["figure"]
        assert figure["layout"]["yaxis"]["ticktext"] == labels
    for axis in ("cut", "pool"):
        assert get(client, f"/runs/{run}/histograms/{axis}") == {"last": -1, "figure": None}
    store.close()


def test_the_log_is_plain_text(seeded: Seeded) -> None:
    client = client_of(seeded.store, Path(seeded.store.shown_url.removeprefix("sqlite:///")).parent)
    answered = client.get(f"/api/runs/{seeded.running}/log")
    assert answered.headers["content-type"].startswith("text/plain")
    assert "attempt 2" in answered.text
    assert client.get(f"/api/runs/{seeded.queued}/log").text == ""


# ---- compare


def test_the_newest_study_with_results_is_compared(client: TestClient, seeded: Seeded) -> None:
    body = get(client, "/compare")
    assert [study["id"] for study in body["studies"]] == [seeded.finished]
    assert body["split"] == "test"
    assert {row["label"] for row in body["rows"]} == set(TRAINABLE)
    assert [column["title"] for column in body["columns"]] == [
        "desk, full_data",
        "clauses, full_data",
    ]
    best = next(row for row in body["rows"] if row["label"] == "fine_tuning")
    assert [cell["rank"] for cell in best["cells"]] == [1, 1]
    assert best["cells"][0]["mean"] == pytest.approx(0.86 - 0.012)
    assert best["cells"][0]["std"] == pytest.approx(0.013)


def test_failed_and_collapsed_runs_are_counted(client: TestClient, seeded: Seeded) -> None:
    rows = {row["label"]: row for row in get(client, "/compare?task=clauses")["rows"]}
    probe, prompt = rows["linear_probe"]["cells"][0], rows["prompt_tuning"]["cells"][0]
    assert (probe["n"], probe["failed"], probe["flagged"], probe["ended"]) == (2, 1, 0, 3)
    assert (prompt["n"], prompt["failed"], prompt["flagged"], prompt["ended"]) == (3, 0, 1, 3)
    assert prompt["flags"] == {"collapsed": 1, "at chance": 1}
    assert seeded.failed in {run["run_id"] for run in probe["runs"]}


def test_differences_say_what_three_seeds_can_show(client: TestClient) -> None:
    body = get(client, "/compare?task=desk&baseline=linear_probe")
    assert body["baseline"] == "linear_probe"
    (part,) = body["differences"]
    assert "cannot go below p = 0.25" in part["sentence"]
    rows = {row["label"]: row for row in part["rows"]}
    assert "linear_probe" not in rows
    assert rows["fine_tuning"]["mean"] == pytest.approx(0.24)
    assert rows["fine_tuning"]["p"] == 0.25
    assert rows["fine_tuning"]["p_holm"] == 1.0


def test_a_sealed_study_shows_dev_until_it_is_opened(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    client = client_of(seeded.store, tmp_path)
    both = f"/compare?study={seeded.finished},S2&split=test"
    body = get(client, both)
    assert body["split"] == "dev"
    assert any("have not ended" in text for text in body["warnings"])
    assert "fine_tuning [batch_size 8]" in {row["label"] for row in body["rows"]}
    with seeded.store.write() as session:
        studies.open_test(session, seeded.live)
    body = get(client, both)
    assert body["split"] == "test"
    assert sorted(study["test_openings"] for study in body["studies"]) == [0, 1]
    seeded.store.close()


def test_a_study_older_than_the_list_is_compared(
    client: TestClient, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MAX_STUDIES", 1)
    body = get(client, "/compare?study=S1")
    assert [study["id"] for study in body["studies"]] == [seeded.finished]
    assert [study["id"] for study in body["all_studies"]] == [seeded.live, seeded.finished]


def test_unknown_studies_and_charts_are_not_found(client: TestClient) -> None:
    assert "S99" in get(client, "/compare?study=S99", 404)["message"]
    assert "comparison_bars" in get(client, "/compare/charts/pie", 404)["message"]
    assert "csv" in get(client, "/compare.xls", 404)["message"]


@pytest.mark.parametrize("name", ["comparison_bars", "learning_curve", "accuracy_parameters"])
@pytest.mark.parametrize("column", [0, 1, 7])
def test_charts_are_figures(client: TestClient, name: str, column: int) -> None:
    figure = get(client, f"/compare/charts/{name}?column={column}")["figure"]
    assert set(figure) == {"data", "layout"}
    if column < 2:
        names = {trace.get("name") for trace in figure["data"]}
        assert set(TRAINABLE) <= names


def test_learning_curves_keep_the_order_of_the_table(client: TestClient) -> None:
    figure = get(client, "/compare/charts/learning_curve")["figure"]
    names = [trace["name"] for trace in figure["data"] if trace.get("showlegend") is not False]
    assert names == [row["label"] for row in get(client, "/compare")["rows"]]


def test_exports_hold_the_same_numbers(client: TestClient) -> None:
    lines = list(csv.DictReader(io.StringIO(client.get("/api/compare.csv").text)))
    assert len(lines) == 12
    fine = next(line for line in lines if (line["method"], line["task"]) == ("fine_tuning", "desk"))
    assert (fine["mean"], fine["n"], fine["split"]) == ("0.848", "3", "test")
    assert "**84.8 ± 1.3**" in client.get("/api/compare.md").text
    assert r"\textbf{84.8 $\pm$ 1.3}" in client.get("/api/compare.tex").text
    assert client.get("/api/compare.csv").headers["content-type"].startswith("text/csv")


def test_an_empty_store_compares_nothing(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    client = client_of(store, tmp_path)
    body = get(client, "/compare")
    assert (body["studies"], body["rows"], body["columns"]) == ([], [], [])
    assert get(client, "/playground") == {"tasks": []}
    assert client.get("/api/compare.csv").status_code == 200
    assert get(client, "/compare/charts/learning_curve")["figure"]["data"] == []
    store.close()


# ---- try it


def test_the_playground_offers_the_best_run_of_each_method(
    client: TestClient, seeded: Seeded
) -> None:
    tasks = {task["name"]: task for task in get(client, "/playground")["tasks"]}
    assert set(tasks) == {"desk", "clauses"}
    boxes = {name: [field["name"] for field in task["inputs"]] for name, task in tasks.items()}
    assert boxes == {"desk": ["text"], "clauses": ["text1", "text2"]}
    chosen = [
        run for run in tasks["desk"]["runs"] if run["run_id"] in tasks["desk"]["default_run_ids"]
    ]
    assert sorted(run["method_label"] for run in chosen) == sorted(TRAINABLE)
    assert {run["init_seed"] for run in chosen} == {2}
    labels = [example["label"] for example in tasks["desk"]["examples"]]
    assert len(labels) == len(set(labels)) == 6
    with seeded.store.read() as session:
        assert best_of_each_method(queries.playground_runs(session)[:0]) == ()


def test_runs_of_another_version_are_shown_but_not_offered(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    with seeded.store.write() as session:
        broken = update(Run).where(Run.task == "clauses")
        session.execute(broken.values(config='{"schema_version": 9, "task": {"name": "clauses"}}'))
    client = client_of(seeded.store, tmp_path)
    assert [task["name"] for task in get(client, "/playground")["tasks"]] == ["desk"]
    body = get(client, f"/runs/{seeded.failed}")
    assert "cannot be read by this version" in body["sentence"]
    assert body["config"]["schema_version"] == 9
    seeded.store.close()


def test_paper_practice_is_marked_and_gives_examples_nobody_was_trained_on(tmp_path: Path) -> None:
    seeded = seed(tmp_path)
    in_full = '"selection":"dev"', '"selection":"paper_practice"'
    with seeded.store.write() as session:
        session.execute(update(Study).values(recipe=func.replace(Study.recipe, *in_full)))
        session.execute(update(Run).values(config=func.replace(Run.config, *in_full)))
    client = client_of(seeded.store, tmp_path)
    body = get(client, "/compare")
    assert {study["selection"] for study in body["studies"]} == {"paper_practice"}
    assert all("paper practice" in column["title"] for column in body["columns"])
    assert any("reported split itself" in text for text in body["warnings"])
    trained = {
        example.rows[0]
        for example in read_task(TaskChoice(name="desk"), selection="paper_practice").train
    }
    (desk,) = [task for task in get(client, "/playground")["tasks"] if task["name"] == "desk"]
    assert not trained & {tuple(example["texts"]) for example in desk["examples"]}
    assert "chose their checkpoint" in desk["examples_note"]
    seeded.store.close()


def ask(client: TestClient, **changes: Any) -> Any:
    """Ask for one text and one run."""
    return client.post("/api/predictions", json={"texts": ["hello"], "run_ids": ["r"]} | changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"texts": [" \n "]}, "empty"),
        ({"texts": ["x" * 20_001]}, "20,001 characters"),
        ({"texts": []}, "at least 1"),
        ({"texts": ["a"] * 9}, "at most 8"),
        ({"run_ids": []}, "at least 1"),
        ({"run_ids": [str(i) for i in range(65)]}, "at most 64"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_bad_questions_are_refused_with_a_reason(
    client: TestClient, changes: dict[str, Any], told: str
) -> None:
    answered = ask(client, **changes)
    assert answered.status_code == 422
    assert told in json.dumps(answered.json())


def test_the_longest_text_is_taken(client: TestClient, seeded: Seeded) -> None:
    answered = ask(client, texts=["x" * 20_000], run_ids=[seeded.dynamic])
    assert answered.status_code == 202


def test_answers_come_while_the_reader_waits(client: TestClient, seeded: Seeded) -> None:
    asked = ask(client, run_ids=[seeded.dynamic], session="one").json()["id"]
    assert get(client, f"/predictions/{asked}")["answers"] == []
    body = answer_body(seeded.dynamic, "billing", ["hello"])
    later = threading.Timer(0.3, answer, (seeded.store, asked, {seeded.dynamic: body}))
    later.start()
    began = time.monotonic()
    page = get(client, f"/predictions/{asked}?wait=1")
    waited = time.monotonic() - began
    later.join()
    assert 0.2 < waited < 5
    (found,) = page["answers"]
    assert found["run_id"] == seeded.dynamic
    assert found["body"]["choices"] == body["choices"]
    rest = get(client, f"/predictions/{asked}?wait=1&after={page['cursor']}")
    assert (rest["answers"], rest["is_ended"]) == ([], True)


def test_a_new_question_of_a_session_ends_the_earlier_one(
    client: TestClient, seeded: Seeded
) -> None:
    first = ask(client, run_ids=[seeded.dynamic], session="two").json()["id"]
    ask(client, run_ids=[seeded.dynamic], session="two")
    page = get(client, f"/predictions/{first}?wait=1")
    assert (page["state"], page["is_ended"]) == ("superseded", True)


def test_an_unknown_prediction_is_not_found(client: TestClient) -> None:
    get(client, "/predictions/nothing?wait=1", 404)
