"""``studio audit``: the stored table of a run, or one made now from its adapter."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import audit
from core.recipe_files import parse_recipe
from core.settings import get_settings
from core.store import runs, studies, workers
from core.training import audit_command
from core.training.group import WarmBackbones
from tests.integration.test_views_api import client_of
from tests.seeding import new_store
from tests.store_tools import submit
from tests.tiny import make_tiny_bert
from tests.training_tools import succeeded, train, write_task

CUTS = {"kind": "adap_ins_pos", "num_virtual_tokens": 3}


class Desk:
    """A home with runs of a tiny backbone: one with an audit, one without, and a plain one."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, new_store(home)
        task, model = write_task(home / "task"), make_tiny_bert(home / "bert")
        with self.store.write() as session:
            worker = workers.register(
                session, name="w", role="train", host=socket.gethostname(), pid=1
            )
        warm = WarmBackbones(offline=True, threads=1)
        self.slugs = {
            name: self._train(name, method, options, task, model, worker, warm)
            for name, method, options in (
                ("stored", CUTS, {}),
                ("bare", CUTS, {"audit": False}),
                ("plain", "prompt_tuning", {}),
            )
        }

    def _train(
        self, name: str, method: Any, options: dict[str, Any], task: Path, model: Path,
        worker: str, warm: WarmBackbones,
    ) -> str:  # fmt: skip
        recipe = parse_recipe(
            {
                "name": name,
                "tasks": [{"name": "own", "folder": str(task)}],
                "methods": [method],
                "backbones": [{"path": str(model)}],
                "training": {
                    "max_updates": 3, "batch_size": 8, "max_tokens": 64, **options,
                },
            }
        )  # fmt: skip
        configs = recipe.runs()
        with self.store.write() as session:
            study = studies.create_study(session, recipe, configs)
        ending = succeeded(train(configs, self.home / "artifacts" / name, warm))
        with self.store.write() as session:
            (claim,) = runs.claim(session, worker, 1)
            assert runs.started(session, claim.id, claim.fence)
            files = {kind: f"{name}/r0/{path.name}" for kind, path in ending.files.items()}
            runs.end_attempt(session, claim.id, claim.fence, ending, files=files)
        return f"S{study.number}-1"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("home"))
    yield found
    found.store.close()


@pytest.fixture(autouse=True)
def _at_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STUDIO_HOME", str(desk.home))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert audit.main(list(arguments)) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


def test_the_stored_audit_is_printed_and_written(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "audit.json"
    text = said(capsys, desk.slugs["stored"], "--out", str(out))
    for words in ("own choice", "best of each", "biased upwards", "Own minus shuffled", "cut 3"):
        assert words in text
    (entry,) = json.loads(out.read_text("utf-8"))
    assert entry["axis"] == "cut"
    assert "could not be written" in said(
        capsys, desk.slugs["stored"], "--out", str(out), code=audit.BAD_INPUT
    )


@pytest.mark.full
def test_a_run_without_one_is_audited_with_its_adapter(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stored, made = tmp_path / "stored.json", tmp_path / "made.json"
    said(capsys, desk.slugs["stored"], "--out", str(stored))
    said(capsys, desk.slugs["bare"], "--out", str(made))
    assert json.loads(made.read_text("utf-8")) == json.loads(stored.read_text("utf-8"))


def test_an_adapter_alone_gives_the_audit_that_its_run_had(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stored = tmp_path / "stored.json"
    said(capsys, desk.slugs["stored"], "--out", str(stored))
    folder = desk.home / "artifacts" / "bare" / "r0" / "adapter"
    assert audit_command.main([str(folder)]) == audit_command.DONE
    assert json.loads(capsys.readouterr().out) == json.loads(stored.read_text("utf-8"))


def test_a_run_that_chooses_nothing_is_refused_with_the_reason(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = desk.home / "artifacts" / "plain" / "r0" / "adapter"
    assert audit_command.main([str(folder)]) == audit_command.BAD_INPUT
    assert "prompt_tuning chooses nothing" in capsys.readouterr().err


def test_a_run_without_an_adapter_is_refused_by_its_state(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    study = submit(desk.store)
    slug = f"S{study.number}-1"
    waiting = said(capsys, slug, code=audit.BAD_INPUT)
    assert f"{slug} (queued) has no trained adapter to audit. Wait until" in waiting
    with desk.store.write() as session:
        runs.request_cancel(session, study.run_ids[0])
    never = said(capsys, slug, code=audit.BAD_INPUT)
    assert f"{slug} (cancelled) has no trained adapter to audit. Retry it" in never


def test_the_page_of_a_trained_run_has_its_audit(desk: Desk, tmp_path: Path) -> None:
    client: TestClient = client_of(desk.store, tmp_path)
    body = client.get(f"/api/runs/{desk.slugs['stored']}").json()
    assert [one["metric"] for one in body["audit"]] == ["accuracy"]
    assert body["audit"][0]["lines"][0]["metrics"] == body["result"]["dev"]
    figure = client.get(f"/api/runs/{desk.slugs['stored']}/audit/0").json()["figure"]
    assert len(figure["data"][1]["x"]) == 4
