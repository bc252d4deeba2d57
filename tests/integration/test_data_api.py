"""Routes behind the page Data: the list, one set, uploads, and deleting."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import actions, quarantine
from app.api import data, data_uploads
from app.api._errors import add_error_handlers
from app.data_actions import clean_uploads
from core.data.tasks import candidates, read_task
from core.errors import NotFound
from core.recipe_parts import TaskChoice
from core.regimes import REGIMES
from core.settings import Settings
from core.store.session import Store
from core.tasks import TASKS
from tests.small_studies import new_store, recipe
from tests.suite_files import write_lines

ROWS = 60
WORDS = {"praise": "a kind word", "blame": "a hard word", "question": "is it a word"}


@dataclass(frozen=True)
class Site:
    """The routers in an application of their own, with what stands behind them."""

    client: TestClient
    store: Store
    settings: Settings

    def get(self, path: str, **query: object) -> dict[str, Any]:
        answer = self.client.get(path, params={key: str(value) for key, value in query.items()})
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def send(self, content: bytes, name: str = "reviews.csv") -> str:
        """Upload a file and return its id."""
        answer = self.client.post("/api/data/uploads", params={"name": name}, content=content)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def add(self, content: bytes, **changes: object) -> dict[str, Any]:
        """Upload a file and add it with the guessed columns."""
        upload = self.send(content)
        choices = self.get(f"/api/data/uploads/{upload}")["choices"] | changes
        answer = self.client.post(f"/api/data/uploads/{upload}/add", json=choices)
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added

    @property
    def uploads(self) -> list[Path]:
        """What lies in quarantine."""
        folder = self.settings.home_path / "tmp" / "uploads"
        return list(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    settings = Settings(home=home, data_dir=str(home / "suite"), offline=True)
    store = new_store(settings)
    app = FastAPI()
    app.state.store, app.state.settings = store, settings
    add_error_handlers(app)
    for router in (data.router, data_uploads.router):
        app.include_router(router, prefix="/api")
    with TestClient(app) as client:
        yield Site(client, store, settings)
    store.close()


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([header, *rows])
    return written.getvalue().encode()


def reviews(rows: int = ROWS) -> bytes:
    labels = sorted(WORDS)
    return table([(f"{WORDS[labels[i % 3]]} number {i}", labels[i % 3]) for i in range(rows)])


def write_cb(suite: Path, examples: Mapping[str, int]) -> None:
    """Write the official files of CB with so many examples."""
    labels = ("contradiction", "entailment", "neutral")
    folder = suite / "CB"
    folder.mkdir(parents=True)
    for stem, number in examples.items():
        lines = [
            json.dumps({"premise": f"p {i}", "hypothesis": f"h {i}", "label": labels[i % 3]})
            for i in range(number)
        ]
        (folder / f"{stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def known(site: Site) -> dict[str, Any]:
    return {row["name"]: row for row in site.get("/api/data")["known"]}


def test_the_list_counts_files_and_says_what_is_missing(site: Site) -> None:
    write_cb(site.settings.home_path / "suite", {"train": 250, "val": 55})
    rows = known(site)
    assert rows["cb"]["state"] == "partial"
    assert [(f["count"], f["official"]) for f in rows["cb"]["files"]] == [(250, 250), (55, 56)]
    assert rows["rte"]["state"] == "absent"
    assert rows["desk"]["state"] == "here"
    assert [f["file"] for f in rows["desk"]["files"]] == ["train.jsonl", "test.jsonl"]


def test_a_changed_file_is_counted_again_and_a_broken_line_is_named(site: Site) -> None:
    suite = site.settings.home_path / "suite"
    write_cb(suite, {"train": 250, "val": 56})
    assert known(site)["cb"]["state"] == "official"
    path = suite / "CB" / "val.jsonl"
    path.write_text(path.read_text() + "{\n", encoding="utf-8")
    row = known(site)["cb"]
    assert row["state"] == "faulty"
    assert "val.jsonl, line 57" in row["notes"][0]


def test_files_made_from_official_ones_are_told_apart(site: Site) -> None:
    suite = site.settings.home_path / "suite"
    spec = TASKS["boolq-devsplit"]
    for stem, count in spec.counts.items():
        lines = ({"question": "q", "passage": "p", "label": True, "idx": i} for i in range(count))
        write_lines(suite / spec.folder[0], stem, lines)
    assert known(site)["boolq-devsplit"]["state"] == "derived"


def test_a_file_becomes_a_version_that_runs_can_use(site: Site) -> None:
    added = site.add(reviews(), name="my-reviews")
    assert added["is_new"]
    assert site.uploads == []
    view = site.get("/api/data/sets/my-reviews")
    assert view["version"] == added["version"]
    assert view["labels"] == sorted(WORDS)
    assert sum(split["examples"] for split in view["splits"]) == ROWS
    assert all(set(split["counts"]) == set(WORDS) for split in view["splits"])
    assert view["data_version"] == added["version"]
    (own,) = site.get("/api/data")["own"]
    assert own["name"] == "my-reviews"
    sizes = {split["name"]: split["examples"] for split in view["splits"]}
    assert sizes["dev"] > 0
    assert own["versions"][0]["counts"] == sizes
    assert own["versions"][0]["source"] == "reviews.csv"
    again = site.add(reviews(), name="my-reviews")
    assert (again["version"], again["is_new"]) == (added["version"], False)
    longer = site.add(reviews(ROWS + 3), name="my-reviews")
    (own,) = site.get("/api/data")["own"]
    assert [one["version"] for one in own["versions"]] == [longer["version"], added["version"]]


def test_choices_are_kept_with_the_upload(site: Site) -> None:
    upload = site.send(table([("a b", "x", "c d"), ("e f", "y", "g h")], ("one", "two", "three")))
    first = site.get(f"/api/data/uploads/{upload}")
    assert first["file_name"] == "reviews.csv"
    choices = {**first["choices"], "texts": ["one", "three"], "label": "two", "on_missing": "drop"}
    site.client.post(f"/api/data/uploads/{upload}/preview", json=choices)
    assert site.get(f"/api/data/uploads/{upload}")["choices"] == choices
    (waiting,) = site.get("/api/data")["uploads"]
    assert (waiting["id"], waiting["size"]) == (upload, first["size"])
    assert datetime.fromisoformat(waiting["at"]).utcoffset() == timedelta(0)
    site.client.delete(f"/api/data/uploads/{upload}")
    assert site.client.get(f"/api/data/uploads/{upload}").status_code == 404
    assert site.uploads == []


def test_a_preview_tells_labels_lengths_and_rows_and_keeps_nothing(site: Site) -> None:
    upload = site.send(reviews())
    choices = site.get(f"/api/data/uploads/{upload}")["choices"]
    view = site.client.post(f"/api/data/uploads/{upload}/preview", json=choices).json()
    report = view["report"]
    assert report["labels"] == sorted(WORDS)
    assert sum(report["counts"].values()) == ROWS
    assert view["examples"][0]["label"] in WORDS
    assert view["lengths"]["inputs"] == report["counts"]["train"]
    assert sum(bar["count"] for bar in view["lengths"]["bars"]) == report["counts"]["train"]
    assert {path.name for path in site.uploads[0].iterdir()} == {"upload.csv", "upload.json"}


def test_a_preview_tells_how_much_of_train_becomes_dev(site: Site) -> None:
    upload = site.send(reviews())
    choices = site.get(f"/api/data/uploads/{upload}")["choices"] | {"name": "mine"}
    view = site.client.post(f"/api/data/uploads/{upload}/preview", json=choices).json()
    site.client.post(f"/api/data/uploads/{upload}/add", json=choices)
    splits = {one["name"]: one["examples"] for one in site.get("/api/data/sets/mine")["splits"]}
    assert view["cut_dev"] == splits["dev"]
    assert view["report"]["counts"]["train"] == splits["train"] + splits["dev"]


def test_all_waiting_uploads_are_discarded_at_once(site: Site) -> None:
    site.send(reviews())
    site.send(reviews())
    assert site.client.delete("/api/data/uploads").json() == {"discarded": 2}
    assert site.uploads == []


def test_wrong_rows_are_named_and_nothing_is_added(site: Site) -> None:
    upload = site.send(table([("fine", "a"), ("", "b"), ("good", "b"), ("more", "a")]))
    choices = site.get(f"/api/data/uploads/{upload}")["choices"]
    choices |= {"texts": ["text"], "label": "label"}
    view = site.client.post(f"/api/data/uploads/{upload}/preview", json=choices).json()
    assert view["report"]["problems"][0]["line"] == 3
    refused = site.client.post(f"/api/data/uploads/{upload}/add", json=choices)
    assert refused.status_code == 422
    assert "line 3" in refused.json()["message"]
    assert site.get("/api/data")["own"] == []
    assert len(site.uploads) == 1


def test_another_encoding_is_chosen_and_the_columns_are_found_then(site: Site) -> None:
    upload = site.send("text,label\ngrün,a\nweiß,b\nschön,a\nmüde,b\n".encode("cp1252"))
    first = site.get(f"/api/data/uploads/{upload}")
    assert not first["inspection"]["is_usable"]
    assert first["inspection"]["problems"][0]["line"] == 2
    choices = first["choices"] | {"encoding": "windows-1252"}
    second = site.client.put(f"/api/data/uploads/{upload}", json=choices).json()
    assert second["inspection"]["is_usable"]
    assert second["choices"]["label"] == "label"
    assert second["inspection"]["columns"][0]["samples"][0] == "grün"


def test_one_column_cannot_be_two_things(site: Site) -> None:
    upload = site.send(reviews())
    choices = site.get(f"/api/data/uploads/{upload}")["choices"] | {"group": "label"}
    answer = site.client.post(f"/api/data/uploads/{upload}/preview", json=choices)
    assert answer.status_code == 422
    assert "'label' has two roles" in answer.json()["message"]


def test_a_file_that_is_too_large_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MOST_BYTES", 1_000_000)
    answer = site.client.post("/api/data/uploads?name=big.csv", content=b"x" * 1_000_001)
    assert answer.status_code == 422
    assert "larger than 1 MB" in answer.json()["message"]
    empty = site.client.post("/api/data/uploads?name=none.csv", content=b"")
    assert empty.status_code == 422
    assert site.uploads == []


@pytest.mark.parametrize("size", [20, 1_000_000])
def test_a_full_disk_is_told_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(self: quarantine.Incoming, path: Path) -> None:
        path.touch()
        self.size = 0
        self._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")

    monkeypatch.setattr(quarantine.Incoming, "__init__", full)
    answer = site.client.post("/api/data/uploads?name=big.csv", content=b"x" * size)
    assert answer.status_code == 422
    assert "big.csv could not be kept" in answer.json()["message"]
    assert "No space left on device" in answer.json()["message"]
    assert answer.json()["hint"]
    assert site.uploads == []


def test_only_so_many_uploads_wait_and_old_ones_are_thrown_away(site: Site) -> None:
    ids = [site.send(b"text,label\na,b\n") for _ in range(quarantine.MOST_UPLOADS)]
    refused = site.client.post("/api/data/uploads?name=more.csv", content=b"a,b\n")
    assert refused.status_code == 422
    old = time.time() - quarantine.LIFE_SECONDS - 60
    for path in site.uploads[:2]:
        os.utime(path, (old, old))
    assert clean_uploads(site.settings) == 2
    left = {path.name for path in site.uploads}
    assert len(left) == len(ids) - 2
    assert left < set(ids)


@pytest.mark.parametrize("upload", ["..", "", ".", "../uploads", "a" * 24, "a" * 23 + "/"])
def test_an_upload_is_named_by_its_id_alone(site: Site, upload: str) -> None:
    kept = site.send(b"text,label\na,b\n")
    place = quarantine.Quarantine(site.settings.home_path)
    (place.folder / quarantine.NOTE).write_text('{"file_name": "secret.csv", "choices": {}}')
    with pytest.raises(NotFound):
        place.open(upload)
    place.discard(upload)
    assert place.open(kept).file_name == "reviews.csv"


def test_the_name_of_a_file_is_no_path(site: Site) -> None:
    upload = site.send(b"text,label\na,b\n", "../../../../tmp/evil\x00.csv")
    assert site.get(f"/api/data/uploads/{upload}")["file_name"] == "evil.csv"
    (folder,) = site.uploads
    assert {path.name for path in folder.iterdir()} == {"upload.csv", "upload.json"}
    assert (folder / "upload.csv").stat().st_mode & 0o077 == 0


def test_a_version_is_deleted_unless_a_run_uses_it(site: Site) -> None:
    used = site.add(reviews(), name="used")["version"]
    unused = site.add(reviews(ROWS + 3), name="used")["version"]
    tasks = [{"name": "used", "dataset": used}]
    actions.submit_recipe(
        site.store, recipe(("prompt_tuning",), tasks=tasks), settings=site.settings
    )
    assert site.get("/api/data/sets/used", version=used)["runs"] == 2
    refused = site.client.delete(f"/api/data/sets/used/{used}")
    assert refused.status_code == 422
    assert "2 runs" in refused.json()["message"]
    assert site.client.delete(f"/api/data/sets/used/{unused}").status_code == 200
    assert site.client.get("/api/data/sets/used", params={"version": unused}).status_code == 404
    (own,) = site.get("/api/data")["own"]
    assert [(one["version"], one["runs"]) for one in own["versions"]] == [(used, 2)]


def test_unknown_sets_versions_files_and_templates_are_refused(site: Site) -> None:
    get = site.client.get
    assert get("/api/data/sets/nothing").status_code == 404
    assert get("/api/data/sets/../../secret").status_code == 404
    assert get("/api/data/sets/desk", params={"version": "zz"}).status_code == 404
    assert get("/api/data/sets/desk", params={"template": "zz"}).status_code == 422
    for file in ("../desk/train.jsonl", "DATASHEET.md"):
        assert get("/api/data/sets/desk/examples", params={"file": file}).status_code == 404


def test_the_draw_is_the_one_of_a_run_with_that_seed(site: Site) -> None:
    view = site.get("/api/data/sets/desk/draw", draw="per_label", k=2, seed=3)
    task = read_task(TaskChoice(name="desk"))
    chosen = REGIMES["few_shot"].model_validate({"k": 2}).select(candidates(task), 3).train
    assert [one["texts"][0][:60] for one in view["examples"]] == [
        task.train[index].rows[0][0][:60] for index in chosen
    ]
    assert dict(view["counts"]) == dict.fromkeys(task.labels, 2)
    refused = site.client.get("/api/data/sets/desk/draw?draw=per_label&k=9000")
    assert refused.status_code == 422


def test_a_batch_is_padded_marked_and_cut(site: Site) -> None:
    view = site.get("/api/data/sets/clauses/batch", max_tokens=12, size=4)
    assert len(view["rows"]) == 4
    assert view["length"] == 16
    for row in view["rows"]:
        assert len(row["tokens"]) + row["padding"] == view["length"]
        assert row["total"] > len(row["tokens"]) == 12
        assert row["tokens"][0] == {"text": "[CLS]", "segment": 0, "special": True}
        assert {token["segment"] for token in row["tokens"]} == {0, 1}
    assert view["used"] == 4 * 12


def test_examples_show_fields_and_what_templates_make_of_them(site: Site) -> None:
    write_cb(site.settings.home_path / "suite", {"train": 250, "val": 56})
    (first, *_) = site.get("/api/data/sets/cb/examples", file="val.jsonl", at=54)["examples"]
    assert (first["number"], first["line"]) == (55, 55)
    assert dict(first["fields"]) == {
        "premise": "p 54",
        "hypothesis": "h 54",
        "label": "contradiction",
    }
    rendered = {one["template"]: one["rows"] for one in first["renderings"]}
    assert set(rendered) == set(TASKS["cb"].template_names)
    assert all("p 54" in " ".join(rows[0]) for rows in rendered.values())
