"""Workers as real processes: bells, predictions, a real trainer, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.backbones.spec import BackboneChoice
from core.errors import InputError
from core.local.broker import answers, find_server, prepare_socket_folder, server_command
from core.queue import Bell, make_app, queue_options
from core.settings import Settings
from core.states import RunState
from core.store import predictions, runs, scalars, workers
from core.store.models_data import Artifact
from tests.tiny import make_tiny_bert
from tests.worker_tools import (
    ROOT,
    Watcher,
    children_of,
    is_alive,
    open_store,
    queue_runs,
    quick_settings,
    wait_for,
)
from worker.celery_app import Doorbell
from worker.predictor import PredictionLoop


@contextmanager
def broker(settings: Settings) -> Iterator[None]:
    program = find_server()
    assert program is not None
    prepare_socket_folder(settings.socket_path, settings.home_path)
    process = subprocess.Popen(server_command(program, settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(settings.socket_path))
        yield
    finally:
        process.kill()
        process.wait()


def test_a_ring_arrives_and_the_consumer_survives_its_broker(home: Path) -> None:
    settings = quick_settings(home)
    rung: list[str] = []
    doorbell = Doorbell(settings.celery_broker_url, "execute", rung.append, ("default", "gpu"))
    bell = Bell(make_app(lambda: queue_options(settings.celery_broker_url)))
    try:
        for name in ("first", "second"):
            with broker(settings):
                doorbell.keep_alive()
                assert not bell.ring("execute", "elsewhere", "cpu") or "elsewhere" not in rung
                for queue_name in ("default", "gpu"):
                    said = f"{name} {queue_name}"
                    wait_for(
                        lambda: bell.ring("execute", said, queue_name) and said in rung  # noqa: B023
                    )
    finally:
        doorbell.stop()
    assert "elsewhere" not in rung


def test_the_predictor_takes_runs_from_a_silent_worker_and_rings(home: Path) -> None:
    settings = quick_settings(home, lease_seconds=1.0)
    store = open_store(settings)
    [run_id] = queue_runs(store, 1)
    with store.write() as session:
        silent = workers.register(session, name="silent", role="train", host="elsewhere", pid=1)
        assert runs.claim(session, silent, 1)
    rung: list[tuple[str, str]] = []
    loop = PredictionLoop(
        store, settings, FakeAnswerer, "tester", ring=lambda *ring: rung.append(ring)
    )
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        Watcher(store).wait_state([run_id], RunState.QUEUED)
        assert [attempt.outcome for attempt in Watcher(store).attempts(run_id)] == ["lost"]
        with store.write() as session:
            idle = workers.register(session, name="idle", role="train", host="elsewhere", pid=2)

        def is_rung() -> bool:
            with store.write() as session:
                workers.beat(session, idle)
            return bool(rung)

        wait_for(is_rung)
    finally:
        loop.request_stop()
        thread.join(20)
    assert set(rung) == {(run_id, "default")}
    store.close()


def silent_server() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(50)
    return server


def test_a_ring_never_waits_for_a_broker_that_is_away(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with silent_server() as server:
        urls = (
            f"redis+socket://{home}/nothing.sock?virtual_host=0",
            "redis://127.0.0.1:1/0",
            f"redis://127.0.0.1:{server.getsockname()[1]}/0",
        )
        for url in urls:
            caplog.clear()
            bell = Bell(make_app(lambda: queue_options(url)))  # noqa: B023
            for _ in range(20):
                before = time.monotonic()
                assert bell.ring("execute", "run") is False
                assert time.monotonic() - before < 1.0
            wait_for(lambda: caplog.records)
            assert len(caplog.records) == 1
            assert "find queued work by themselves" in caplog.text


class FakeAnswerer:
    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.tasks: list[str] = []
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def preload(self, choice: BackboneChoice) -> None:
        assert choice.name == "minilm"

    def answer(
        self, texts: Sequence[str], adapters: Mapping[str, Path], task: str
    ) -> list[dict[str, Any]]:
        self.asked += 1
        assert self.gate.wait(20)
        if not texts[0].strip():
            raise InputError("The text is empty.")
        self.groups.append(list(adapters))
        self.tasks.append(task)
        return [{"run_id": run_id, "label": "yes"} for run_id in adapters]


class Asking:
    def __init__(self, home: Path) -> None:
        self.settings = quick_settings(home)
        self.store = open_store(self.settings)
        self.answerer = FakeAnswerer()
        self.loop = PredictionLoop(self.store, self.settings, lambda: self.answerer, "tester")
        self.runs = queue_runs(self.store, 3)
        with self.store.write() as session:
            for number, run_id in enumerate(self.runs[:2]):
                folder = home / "artifacts" / f"adapter{number}"
                folder.mkdir(parents=True)
                card = f'{{"config": {{"backbone": {{"name": "b{number}"}}}}}}'
                (folder / "adapter.json").write_text(card)
                session.add(Artifact(run_id=run_id, name="adapter", path=folder.name))

    def ask(self, text: str, key: str = "", task: str = "") -> str:
        with self.store.write() as session:
            return predictions.create_prediction(session, [text], self.runs, key, task=task)

    def view(self, prediction_id: str) -> predictions.PredictionView:
        with self.store.read() as session:
            return predictions.read_answers(session, prediction_id)

    def wait(self, prediction_id: str) -> predictions.PredictionView:
        wait_for(lambda: self.view(prediction_id).is_ended)
        return self.view(prediction_id)


@pytest.fixture
def asking(home: Path) -> Iterator[Asking]:
    asking = Asking(home)
    thread = threading.Thread(target=asking.loop.run, daemon=True)
    thread.start()
    yield asking
    asking.loop.request_stop()
    asking.answerer.gate.set()
    thread.join(20)
    assert not thread.is_alive()
    asking.store.close()


def test_all_chosen_runs_answer_one_batch_for_each_backbone(asking: Asking) -> None:
    view = asking.wait(asking.ask("a text", task="rte"))
    assert view.state == "done"
    assert asking.answerer.tasks == ["rte", "rte"]
    assert [answer.run_id for answer in view.answers] == [asking.runs[2], *asking.runs[:2]]
    assert "no trained adapter" in view.answers[0].body["error"]
    assert [answer.body.get("label") for answer in view.answers[1:]] == ["yes", "yes"]
    assert asking.answerer.groups == [[asking.runs[0]], [asking.runs[1]]]


def test_a_newer_question_of_the_same_person_ends_the_older_one(asking: Asking) -> None:
    asking.answerer.gate.clear()
    old = asking.ask("a te", "me")
    wait_for(lambda: asking.answerer.asked == 1)
    new = asking.ask("a text", "me")
    asking.answerer.gate.set()
    assert asking.wait(new).state == "done"
    assert asking.view(old).state == "superseded"
    assert asking.answerer.groups[1:] == [[asking.runs[0]], [asking.runs[1]]]


def test_a_bad_text_is_told_and_the_next_one_answered(asking: Asking) -> None:
    view = asking.wait(asking.ask("  "))
    assert (view.state, view.error) == ("failed", "The text is empty.")
    assert asking.wait(asking.ask("a text")).state == "done"


def test_an_answer_that_takes_too_long_is_given_up(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.predictor.LIMIT_SECONDS", 0.3)
    asking.answerer.gate.clear()
    view = asking.wait(asking.ask("a text"))
    assert view.state == "failed"
    assert "within" in view.error
    asking.answerer.gate.set()


def start_worker(role: str, home: Path, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "worker", "--role", role, "--home", str(home)]
    quick = {"STUDIO_POLL_SECONDS": "0.2", "STUDIO_BEAT_SECONDS": "0.2", "STUDIO_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--device", "cpu"], cwd=ROOT, env={**os.environ, **quick, **environment}
    )


def end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()


def test_the_whole_way_without_a_broker(home: Path) -> None:
    """Real processes and the real engine: train, kill -9, continue, answer, leave."""
    settings = quick_settings(home)
    store = open_store(settings)
    watcher = Watcher(store)
    tiny = make_tiny_bert(home / "tiny")
    sizes = {"max_updates": 24, "evaluations": 3, "batch_size": 4, "max_tokens": 32}
    ids = queue_runs(store, 1, backbone=tiny, **sizes)
    trainer, predictor = start_worker("train", home), start_worker("predict", home)
    try:
        wait_for(lambda: watcher.run(ids[0]).checkpoint_step, 120)
        [child] = children_of(trainer.pid)
        os.kill(child, signal.SIGKILL)
        watcher.wait_state(ids, RunState.SUCCEEDED, 150)
        with store.read() as session:
            page = scalars.read_curves(session, {ids[0]: scalars.Cursor()})[ids[0]]
        assert page.curves["train/loss"].steps == list(range(1, 25))
        first, second = watcher.attempts(ids[0])
        assert "SIGKILL" in first.detail
        assert second.resumed_from_step >= 8
        with store.write() as session:
            asked = predictions.create_prediction(session, ["The printer is broken."], ids)

        def view() -> predictions.PredictionView:
            with store.read() as session:
                return predictions.read_answers(session, asked)

        wait_for(lambda: view().is_ended, 60)
        assert view().state == "done", view().error
        assert all(answer.body["probabilities"] for answer in view().answers)
        [child] = children_of(trainer.pid)
        trainer.terminate()
        predictor.terminate()
        assert trainer.wait(20) == 0
        assert predictor.wait(20) == 0
        assert not is_alive(child)
    finally:
        end(trainer)
        end(predictor)
        store.close()


def test_a_database_that_is_not_there_is_said_in_one_line(home: Path) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "worker", "--role", "train", "--home", str(home)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert worker.returncode == 2
    assert "Traceback" not in worker.stderr
    assert "./studio up" in worker.stderr


def test_a_queue_that_is_none_is_refused_at_once(home: Path) -> None:
    open_store(quick_settings(home)).close()
    worker = subprocess.run(
        [sys.executable, "-m", "worker", "--home", str(home), "--queues", "gpu,a b"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert worker.returncode == 2
    assert "'a b' is no name of a queue" in worker.stderr
