"""The whole web application over SQLite: routes, errors, headers, and what it never imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.main import build_app
from core.settings import Settings
from core.store.session import Store
from tests.small_studies import full_house, new_store, recipe

ADDRESS = "http://127.0.0.1:7860"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Site:
    """The application in this process, and the ids of its studies."""

    client: TestClient
    store: Store
    ids: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # The worker in the database is no process; it must not be held for lost meanwhile.
    settings = Settings(home=tmp_path_factory.mktemp("home"), offline=True, lease_seconds=3600)
    store = new_store(settings)
    ids = full_house(store, settings)
    with TestClient(build_app(settings, store), base_url=ADDRESS) as client:
        yield Site(client, store, ids)
    store.close()


def test_home_tells_what_runs_waits_failed_and_ended(site: Site) -> None:
    view = site.client.get("/api/home").json()
    assert [run["id"] for run in view["active"]] == [site.ids["running"]]
    assert view["active"][0]["share_done"] == pytest.approx(0.37)
    assert view["active"][0]["seconds_left"] == pytest.approx(0.4 * 63)
    assert [run["queue_position"] for run in view["waiting"]][:2] == [1, 2]
    assert view["attention"][0]["exit_detail"].startswith("The loss became NaN")
    assert view["finished"][0]["dev"] == {"accuracy": 0.8}
    assert view["workers"][0]["run_ids"] == [site.ids["running"]]
    assert view["demo"]["id"] == site.ids["demo"]


def test_the_chip_counts_runs_and_trainers(site: Site) -> None:
    answer = site.client.get("/api/status").json()
    assert answer["states"]["running"] == 1
    assert answer["trainers"] == 1


def test_runs_are_folded_by_config_and_filtered(site: Site) -> None:
    every = site.client.get("/api/runs").json()
    assert every["total"] == 8
    assert set(every["studies"]) == {group["study_id"] for group in every["groups"]}
    demo = site.client.get(f"/api/runs?study={site.ids['demo']}&method=adap_ins_pos").json()
    (group,) = demo["groups"]
    assert [row["dev"]["accuracy"] for row in group["rows"]] == [0.88, 0.9]
    failed = site.client.get("/api/runs?state=failed&q=vectors").json()
    assert [row["state"] for row in failed["groups"][0]["rows"]] == ["failed"]
    assert site.client.get("/api/runs?q=no such thing").json()["groups"] == []
    assert site.client.get("/api/runs?limit=0").status_code == 422


def test_a_recipe_is_queued_once_by_its_key(site: Site) -> None:
    body = {"recipe": recipe().to_yaml(), "idempotency_key": "one"}
    first = site.client.post("/api/studies", json=body)
    again = site.client.post("/api/studies", json=body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert len(first.json()["run_ids"]) == 4
    assert again.json()["id"] == first.json()["id"]
    assert not again.json()["is_new"]
    found = site.client.get(f"/api/studies/{first.json()['id']}").json()
    assert {run["state"] for run in found["runs"]} == {"queued"}


def test_a_wrong_recipe_answers_every_problem_with_its_field(site: Site) -> None:
    before = len(site.client.get("/api/studies").json())
    wrong = {"name": "x", "tasks": ["nothing"], "methods": [], "colour": "red"}
    answer = site.client.post("/api/studies", json={"recipe": wrong})
    assert answer.status_code == 422
    assert {p["field"] for p in answer.json()["problems"]} == {"tasks.0", "methods", "colour"}
    hub = recipe(backbones=[{"hub": "some/model"}]).model_dump(mode="json", exclude_defaults=True)
    hub["methods"] = ["prompt_tuning"]
    refused = site.client.post("/api/studies", json={"recipe": hub})
    assert refused.status_code == 422
    assert [p["field"] for p in refused.json()["problems"]] == ["backbones.0"]
    assert site.client.post("/api/studies", json={"recipe": "a: ["}).status_code == 422
    assert site.client.post("/api/studies", json={}).json()["field"] == "recipe"
    assert len(site.client.get("/api/studies").json()) == before


def test_a_preview_queues_nothing(site: Site) -> None:
    before = site.client.get("/api/status").json()
    view = site.client.post("/api/preview", json={"recipe": recipe().to_yaml()}).json()
    assert view["num_runs"] == 4
    assert view["methods"][0]["total"] == 6920
    assert site.client.get("/api/status").json()["states"] == before["states"]


def test_runs_are_cancelled_and_retried(site: Site) -> None:
    body = {"recipe": recipe(name="to cancel").to_yaml()}
    run_id, *_ = site.client.post("/api/studies", json=body).json()["run_ids"]
    assert site.client.post(f"/api/runs/{run_id}/cancel").json()["state"] == "cancelled"
    assert site.client.post(f"/api/runs/{run_id}/retry").json()["state"] == "queued"
    assert "name: to cancel" in site.client.get(f"/api/runs/{run_id}/recipe").json()["yaml"]
    missing = site.client.post("/api/runs/nothing/cancel")
    assert missing.status_code == 404
    assert missing.json()["code"] == "not_found"


def test_a_study_is_cancelled_and_its_test_opened(site: Site) -> None:
    body = {"recipe": recipe(name="to stop").to_yaml()}
    study = site.client.post("/api/studies", json=body).json()["id"]
    assert site.client.post(f"/api/studies/{study}/open-test").json()["openings"] == 1
    assert site.client.post(f"/api/studies/{study}/cancel").json()["cancelled"] == 4
    assert site.client.post(f"/api/studies/{study}/retry").json()["queued"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_writes_from_other_sites_are_refused(site: Site, headers: dict[str, str]) -> None:
    path = f"/api/runs/{site.ids['running']}/cancel"
    answer = site.client.post(path, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "foreign_origin"
    assert site.client.get("/api/status").json()["states"]["running"] == 1
    assert (
        "access-control-allow-origin" not in site.client.get("/api/home", headers=headers).headers
    )


def test_writes_from_the_own_page_are_taken(site: Site) -> None:
    headers = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    body = {"recipe": recipe().to_yaml()}
    assert site.client.post("/api/preview", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "", "[bad"])
def test_other_host_names_are_refused(site: Site, host: str) -> None:
    assert site.client.get("/api/home", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860"])
def test_loopback_names_are_served(site: Site, host: str) -> None:
    assert site.client.get("/healthz", headers={"host": host}).json()["status"] == "ok"


def test_large_bodies_are_refused(site: Site) -> None:
    answer = site.client.post("/api/preview", content=b"x" * 2_100_000)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path", ["/", "/new", "/runs", "/run", "/compare", "/try", "/queue", "/api/home"]
)
def test_every_page_carries_the_safe_headers(site: Site, path: str) -> None:
    answer = site.client.get(path)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_are_served_from_here(site: Site) -> None:
    script = site.client.get("/static/studio.js")
    assert script.headers["content-type"].startswith("text/javascript")
    chart = site.client.get("/vendor/plotly.min.js")
    assert "max-age" in chart.headers["cache-control"]
    for path in ("/static/nothing.js", "/static/..%2fmain.py", "/api/nothing"):
        assert site.client.get(path).status_code in (403, 404)
    assert site.client.get("/api/nothing").json()["code"] == "http"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/gradio_api/openapi.json"])
def test_no_schema_is_published(site: Site, path: str) -> None:
    assert '"openapi"' not in site.client.get(path).text[:200]


def test_the_application_loads_no_torch() -> None:
    code = (
        "import sys, app.main, app.__main__;"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
