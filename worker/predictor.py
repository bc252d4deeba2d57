"""The predict process: answers typed texts with trained runs, kept warm, one batch a backbone."""

from __future__ import annotations

import importlib
import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from core.artifacts import artifact_store
from core.backbones.spec import BackboneChoice
from core.errors import BackboneError, StoreError, StudioError
from core.settings import Settings
from core.store import predictions, runs, workers
from core.store.predictions import PendingPrediction
from core.store.session import Store
from core.sweep import Ring, Sweeper, sweep_seconds
from worker.identity import Identity, dead_workers, own_identity

log = logging.getLogger(__name__)

ACTIVE_WAIT = 0.25
IDLE_WAIT = 1.0
ACTIVE_SECONDS = 30.0
LIMIT_SECONDS = 10.0
TIDY_SECONDS = 5.0
ABANDONED = timedelta(seconds=2 * LIMIT_SECONDS)
STARTED_AGAIN = "The predictor had to start again while it answered; ask once more."
PRELOADED = BackboneChoice(name="minilm")


class Answerer(Protocol):
    """The part of ``core.inference.predictor`` that is needed, without its imports."""

    def preload(self, choice: BackboneChoice) -> None:
        """Load a backbone before the first question."""

    def answer(
        self, texts: Sequence[str], adapters: Mapping[str, Path], task: str
    ) -> list[dict[str, Any]]:
        """Answer with all adapters, which share a backbone; each body has a ``run_id``."""


class TorchAnswerer:
    """Answers with the real predictor; making one imports torch.

    Args:
        offline: Never ask a model hub.
    """

    def __init__(self, offline: bool) -> None:
        self._module = importlib.import_module("core.inference.predictor")
        self._predictor = self._module.Predictor(offline, threads=1)

    def preload(self, choice: BackboneChoice) -> None:
        """Load a backbone before the first question."""
        self._predictor.preload(choice)

    def answer(
        self, texts: Sequence[str], adapters: Mapping[str, Path], task: str
    ) -> list[dict[str, Any]]:
        """Answer with all adapters in one batched pass."""
        references = [
            self._module.AdapterRef(run_id, path, task) for run_id, path in adapters.items()
        ]
        return [asdict(answer) for answer in self._predictor.answer(tuple(texts), references)]


class PredictionLoop:
    """Takes predictions from the database when rung, or at its next look, and answers them.

    Args:
        store: The database.
        settings: Folders and beat.
        load: Makes the answerer; called in ``run`` because it takes seconds.
        name: Name in the list of workers.
        identity: This process; found by itself when None.
        ring: Wakes the workers of a queue, for runs whose message was lost.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        load: Callable[[], Answerer],
        name: str,
        *,
        identity: Identity | None = None,
        ring: Ring | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._load = load
        self._name = name
        self._identity = identity or own_identity()
        self._artifacts = artifact_store(settings)
        self.on_turn: Callable[[], None] = lambda: None
        """Called in every turn of the loop."""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._stopping = False
        self._worker_id = ""
        self._sweeper = Sweeper(
            store, settings.lease_seconds, ring=ring, poll_seconds=settings.poll_seconds
        )
        self._beat_at = self._tidy_at = self._sweep_at = self._active_until = 0.0
        self._told_failing = False

    def wake(self) -> None:
        """Make the loop look at once; safe in signal handlers and other threads."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    def request_stop(self) -> None:
        """Ask the loop to end after the present batch; safe in signal handlers."""
        self._stopping = True
        self.wake()

    def run(self) -> None:
        """Answer until ``request_stop``.

        Raises:
            StoreError: If the worker cannot be registered.
        """
        self._register()
        answerer = self._load()
        try:
            answerer.preload(PRELOADED)
        except BackboneError as error:
            log.warning("the bundled backbone is not loaded ahead: %s", error)
        log.info("ready to answer")
        while not self._stopping:
            self.on_turn()
            try:
                self._turn(answerer)
            except StoreError as error:
                if not self._told_failing:
                    log.error("%s", error)
                self._told_failing = True
            self._wait()
        with suppress(StoreError), self._store.write() as session:
            workers.stop(session, self._worker_id)

    def _turn(self, answerer: Answerer) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self._settings.beat_seconds
            with self._store.write(durable=False) as session:
                workers.beat(session, self._worker_id)
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_SECONDS
            with self._store.write(durable=False) as session:
                predictions.end_abandoned(session, ABANDONED, STARTED_AGAIN)
                predictions.expire_predictions(session)
        if now >= self._sweep_at:
            self._sweep_at = now + sweep_seconds(self._settings.lease_seconds)
            self._sweeper.sweep(but=self._worker_id)
            self._sweeper.ring_again()
        with self._store.write(durable=False) as session:
            pending = predictions.take_pending(session)
        self._told_failing = False
        for prediction in pending:
            self._active_until = time.monotonic() + ACTIVE_SECONDS
            self.answer(answerer, prediction)

    def answer(self, answerer: Answerer, prediction: PendingPrediction) -> None:
        """Answer one prediction; every way out of here ends it.

        Raises:
            StoreError: If the database refuses.
        """
        error = STARTED_AGAIN
        watch = threading.Timer(LIMIT_SECONDS, self._too_long, (prediction.id,))
        watch.daemon = True
        watch.start()
        try:
            error = self._answer_all(answerer, prediction)
        except StudioError as problem:
            error = str(problem)
        finally:
            watch.cancel()
            with self._store.write(durable=False) as session:
                predictions.finish(session, prediction.id, error)

    def _answer_all(self, answerer: Answerer, prediction: PendingPrediction) -> str:
        bodies = [_no_adapter(run_id) for run_id in prediction.missing]
        if bodies and not self._store_answers(prediction.id, bodies):
            return ""
        paths, bodies = self._fetch(prediction.adapters)
        if bodies and not self._store_answers(prediction.id, bodies):
            return ""
        for group in _by_backbone(paths):
            with self._store.read() as session:
                if not predictions.is_wanted(session, prediction.id):
                    return ""
            bodies = answerer.answer(prediction.texts, group, prediction.task)
            if not self._store_answers(prediction.id, bodies):
                return ""
        return ""

    def _fetch(self, adapters: Mapping[str, str]) -> tuple[dict[str, Path], list[dict[str, Any]]]:
        """Bring adapters to this machine; return their paths, and an answer for each that fails."""
        paths, bodies = {}, []
        for run_id, name in adapters.items():
            try:
                paths[run_id] = self._artifacts.fetch(name)
            except StudioError as error:
                bodies.append({"run_id": run_id, "error": str(error)})
        return paths, bodies

    def _store_answers(self, prediction_id: str, bodies: Sequence[Mapping[str, Any]]) -> bool:
        with self._store.write(durable=False) as session:
            return all(
                predictions.add_answer(session, prediction_id, str(body["run_id"]), body)
                for body in bodies
            )

    def _too_long(self, prediction_id: str) -> None:
        error = (
            f"No full answer within {LIMIT_SECONDS:.0f} seconds; a backbone that is used for the "
            "first time has to be loaded. Try again, or choose fewer runs."
        )
        with suppress(StoreError), self._store.write(durable=False) as session:
            predictions.finish(session, prediction_id, error)

    def _wait(self) -> None:
        is_active = time.monotonic() < self._active_until
        ready, _, _ = select.select(
            [self._wake_read], [], [], ACTIVE_WAIT if is_active else IDLE_WAIT
        )
        if ready:
            os.read(self._wake_read, 4096)

    def _register(self) -> None:
        me = self._identity
        with self._store.write() as session:
            runs.expire(session, dead_workers(workers.list_workers(session, alive_only=True), me))
            self._worker_id = workers.register(
                session,
                name=self._name,
                role="predict",
                host=me.host,
                pid=me.pid,
                boot_id=me.boot_id,
                info=me.info,
            )


def _by_backbone(paths: Mapping[str, Path]) -> list[dict[str, Path]]:
    """Split adapters into groups that share a backbone, in the order in which they were chosen."""
    groups: dict[str, dict[str, Path]] = {}
    for run_id, path in paths.items():
        try:
            card = json.loads((path / "adapter.json").read_text(encoding="utf-8"))
            key = json.dumps(card["config"]["backbone"], sort_keys=True)
        except (OSError, ValueError, KeyError, TypeError):
            key = f"unreadable {run_id}"
        groups.setdefault(key, {})[run_id] = path
    return list(groups.values())


def _no_adapter(run_id: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "error": "This run has no trained adapter; only succeeded runs can answer.",
    }
