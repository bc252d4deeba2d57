"""``/metrics``: numbers of the whole studio in the text format of Prometheus, without run names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from core.disk import room
from core.settings import Settings
from core.states import Outcome, RunState
from core.store.gauges import Gauges, read_gauges
from core.store.session import Store

CACHE_SECONDS = 1.0


class StudioCollector(Collector):
    """Reads the database at most once a second, however many scrape.

    Args:
        store: Database.
        settings: Home folder.
        version: Version of the studio.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        version: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settings, self._version, self._clock = store, settings, version, clock
        self._lock = threading.Lock()
        self._read: tuple[float, Gauges] | None = None

    def gauges(self) -> Gauges:
        """Return numbers that are no older than ``CACHE_SECONDS``.

        Raises:
            StoreError: If the database refuses.
        """
        with self._lock:
            now = self._clock()
            if self._read is None or now - self._read[0] >= CACHE_SECONDS:
                with self._store.read() as session:
                    self._read = now, read_gauges(session)
            return self._read[1]

    def collect(self) -> Iterator[Metric]:
        """Name and describe every number."""
        found = self.gauges()
        yield InfoMetricFamily("studio_build", "Version of the studio.", {"version": self._version})
        yield from _of_runs(found)
        yield from _of_workers(found)
        yield from _of_storage(found)
        disk = room(self._settings.home_path)
        if disk is not None:
            yield _one("studio_disk_free_bytes", "Free on the disk of the home folder.", disk.free)
            yield _one("studio_disk_free_share", "Free share of that disk, 0 to 1.", disk.share)


def metrics_text(collector: StudioCollector) -> bytes:
    """Write all numbers in the text format.

    Raises:
        StoreError: If the database refuses.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(tuple(collector.collect())))
    return generate_latest(registry)


class _Once(Collector):
    """Metrics that were collected already."""

    def __init__(self, found: tuple[Metric, ...]) -> None:
        self._found = found

    def describe(self) -> tuple[Metric, ...]:
        return self._found

    def collect(self) -> tuple[Metric, ...]:
        return self._found


def _of_runs(found: Gauges) -> Iterator[Metric]:
    runs = GaugeMetricFamily("studio_runs", "Runs by state.", labels=["state"])
    for state in RunState:
        runs.add_metric([state.value], found.runs.get(state.value, 0))
    yield runs
    queued = GaugeMetricFamily("studio_queued_runs", "Queued runs by queue.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "studio_queue_oldest_seconds", "Age of the oldest queued run by queue.", labels=["queue"]
    )
    # The usual queue is told when it is empty too, so that an alarm on it can go off.
    for queue in sorted({"default", *found.queued}):
        queued.add_metric([queue], found.queued.get(queue, 0))
        oldest.add_metric([queue], found.oldest.get(queue, 0.0))
    yield queued
    yield oldest
    attempts = CounterMetricFamily(
        "studio_attempts", "Attempts that ended, by outcome.", labels=["outcome"]
    )
    for outcome in Outcome:
        attempts.add_metric([outcome.value], found.attempts.get(outcome.value, 0))
    yield attempts


def _of_workers(found: Gauges) -> Iterator[Metric]:
    labels = ["role", "state"]
    count = GaugeMetricFamily("studio_workers", "Workers by role and state.", labels=labels)
    used = GaugeMetricFamily(
        "studio_worker_memory_used_bytes", "Memory in use on the devices.", labels=["role"]
    )
    total = GaugeMetricFamily(
        "studio_worker_memory_bytes", "Memory of the devices.", labels=["role"]
    )
    beat = GaugeMetricFamily(
        "studio_worker_slowest_beat_seconds",
        "Age of the oldest last beat among living workers.",
        labels=["role"],
    )
    for worker in found.workers:
        count.add_metric([worker.role, worker.state], worker.count)
        if worker.state == "alive":
            used.add_metric([worker.role], worker.memory_used)
            total.add_metric([worker.role], worker.memory_bytes)
            beat.add_metric([worker.role], worker.slowest_beat)
    yield from (count, used, total, beat)


def _of_storage(found: Gauges) -> Iterator[Metric]:
    asked = GaugeMetricFamily("studio_predictions", "Predictions by state.", labels=["state"])
    for state, number in found.predictions.items():
        asked.add_metric([state], number)
    yield asked
    seconds = GaugeMetricFamily(
        "studio_prediction_seconds",
        "Sum of the times from question to end of the kept predictions, by state.",
        labels=["state"],
    )
    for state, sum_of_seconds in found.prediction_seconds.items():
        seconds.add_metric([state], sum_of_seconds)
    yield seconds
    yield _one("studio_checkpoint_bytes", "Registered checkpoints.", found.checkpoint_bytes)
    yield _one("studio_scalar_points", "Points of all curves.", found.scalar_points)
    yield _one("studio_database_bytes", "Size of the database.", found.database_bytes)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
