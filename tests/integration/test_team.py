"""A team's set-up: the commands of docker-compose.yml, several machines, one place for files."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.artifacts import ArtifactStore
from tests.live_studio import is_gone, wait_for
from tests.team import PASSWORDS, Team, team
from tests.tiny import make_tiny_bert

PATIENCE = 180.0
UPDATES = 600
TRAINERS = ("worker-cpu", "worker-2")


def submit(
    us: Team, num_runs: int, updates: int, evaluations: int = 1, queue: str = "default"
) -> str:
    """Queue a small study on a backbone that every machine finds at the same path."""
    backbone = us.folder / "tiny"
    if not backbone.is_dir():
        backbone.mkdir()
        make_tiny_bert(backbone)
    training = {"max_updates": updates, "evaluations": evaluations, "batch_size": 4}
    recipe = {
        "name": "a team's study",
        "tasks": ["desk"],
        "methods": ["prompt_tuning"],
        "backbones": [{"path": str(backbone)}],
        "seeds": {"data": [0], "init": list(range(num_runs))},
        "training": {**training, "max_tokens": 32},
    }
    return str(us.post("/api/studies", {"recipe": recipe, "queue": queue})["id"])


def attempts(us: Team, run: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = us.get(f"/api/runs/{run['id']}")["attempts"]
    return found


def predict(us: Team, run_ids: list[str]) -> dict[str, Any]:
    asked = us.post("/api/predictions", {"texts": ["The printer is broken."], "run_ids": run_ids})
    address = f"/api/predictions/{asked['id']}"

    def is_over() -> bool:
        return us.get(address)["state"] in ("done", "failed")

    assert wait_for(is_over, 30), us.log()
    answer: dict[str, Any] = us.get(address)
    assert answer["state"] == "done", answer
    return answer


def descendants(us: Team) -> list[psutil.Process]:
    return [
        process
        for parent in us.processes.values()
        if parent.poll() is None
        for process in (psutil.Process(parent.pid), *psutil.Process(parent.pid).children(True))
    ]


def test_the_commands_of_compose_work_together(tmp_path: Path) -> None:
    with team(tmp_path / "team") as us:
        us.start("app")
        assert not us.is_healthy("worker-cpu")
        us.start("worker-cpu")
        us.start("worker-cpu", "worker-2", CPU_QUEUES="default,night")
        us.start("predictor-cpu")
        us.page_is_ready()
        # Only one of them serves the night; while it is busy the other takes what comes.
        night = submit(us, 1, 100, queue="night")
        assert wait_for(
            lambda: us.get(f"/api/studies/{night}")["runs"][0]["state"] != "queued", PATIENCE
        )
        day = submit(us, 2, 10)
        done = us.wait_states(day, "succeeded", PATIENCE) + us.wait_states(
            night, "succeeded", PATIENCE
        )

        took = {attempt["worker_name"] for run in done for attempt in attempts(us, run)}
        assert len(took) == 2, took
        assert all(len(attempts(us, run)) == 1 for run in done)
        answer = predict(us, [run["id"] for run in done])
        assert len(answer["answers"]) == 3
        assert all(part["body"].get("probabilities") for part in answer["answers"]), answer

        assert us.is_healthy("app")
        assert us.is_healthy("worker-cpu")
        assert us.is_healthy("predictor-cpu")
        checked = us.run(["studio", "check", "--files"], "elsewhere")
        assert checked.returncode == 0, checked.stdout + checked.stderr

        everyone = descendants(us)
        codes = us.stop([*TRAINERS, "predictor-cpu", "app"])
        # The server of the page hands the signal on when it is done.
        assert codes.pop("app") in (0, -signal.SIGTERM)
        assert "Finished server process" in us.log()
        assert set(codes.values()) == {0}, (codes, us.log())
        assert wait_for(lambda: all(is_gone(process) for process in everyone), 5)
        said = us.log()
        assert not any(password in said for password in PASSWORDS.values())


@pytest.mark.full
def test_a_run_goes_on_on_another_machine(tmp_path: Path) -> None:
    """Half of it on one machine, which dies; the rest, answers and table on others."""
    with team(tmp_path / "team") as us:
        us.start("app")
        first = us.start("worker-cpu", "one")
        us.page_is_ready()
        study = submit(us, 1, UPDATES, evaluations=20)
        run_id = us.get(f"/api/studies/{study}")["runs"][0]["id"]

        def view() -> dict[str, Any]:
            found: dict[str, Any] = us.get(f"/api/runs/{run_id}")
            return found

        shared = ArtifactStore(str(us.artifacts), us.home("nobody") / "artifacts")
        assert wait_for(lambda: list(us.artifacts.rglob("manifest.json")), PATIENCE), us.log()
        assert wait_for(lambda: view()["row"]["checkpoint_step"] > 0, 10)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        us.start("worker-cpu", "two")
        us.start("predictor-cpu")
        us.wait_states(study, "succeeded", PATIENCE)

        one, two = view()["attempts"]
        assert (one["outcome"], two["outcome"]) == ("lost", "succeeded")
        assert two["resumed_from_step"] >= UPDATES / 20
        curves = us.get(f"/api/runs/{run_id}/curves", names="train/loss")["curves"]
        assert curves["train/loss"]["steps"] == list(range(1, UPDATES + 1))
        assert predict(us, [run_id])["answers"][0]["body"]["probabilities"]
        fetched = [us.home(name) / "artifacts" for name in ("two", "predictor-cpu", "app")]
        assert fetched[0].is_dir()
        assert list(fetched[1].rglob("adapter.safetensors"))
        assert not list(fetched[2].rglob("*.safetensors"))
        out = tmp_path / "table.md"
        written = us.run(["studio", "export", "table", "S1", "--out", str(out)], "app")
        assert written.returncode == 0, written.stderr
        assert "majority class" in out.read_text()
        names = [path.relative_to(us.artifacts).as_posix() for path in us.artifacts.rglob("*")]
        assert wait_for(lambda: not list(us.artifacts.rglob("step-*")), 5), names
        [predictions] = us.artifacts.rglob("predictions.parquet")
        assert shared.fetch(predictions.relative_to(us.artifacts).as_posix()).stat().st_size > 0
        assert set(us.stop(["two", "predictor-cpu"]).values()) == {0}
        assert us.run(["studio", "check", "--files"], "elsewhere").returncode == 0
