"""The Celery side of a worker: a thread that turns messages into calls, and nothing else."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from celery import Celery
from celery.exceptions import CeleryError
from celery.worker import WorkController
from celery.worker import state as celery_state
from kombu.exceptions import KombuError

from core.queue import (
    DEFAULT_QUEUE,
    WORKER_SOCKET_SECONDS,
    TaskName,
    celery_queue,
    make_app,
    queue_options,
)

RESTART_SECONDS = 5.0
NOISY = ("celery.worker.consumer.consumer", "celery.worker.strategy", "celery.app.trace")

log = logging.getLogger(__name__)


def worker_app(broker_url: str) -> Celery:
    """Build the application of a consumer: like the sender's, but patient.

    Args:
        broker_url: Address of the broker.
    """
    options = queue_options(broker_url)
    options["broker_connection_timeout"] = WORKER_SOCKET_SECONDS
    options["broker_transport_options"] = {
        "max_retries": 0,
        "socket_timeout": WORKER_SOCKET_SECONDS,
        "socket_connect_timeout": WORKER_SOCKET_SECONDS,
        "health_check_interval": 25,
    }
    return make_app(lambda: options)


class Doorbell:
    """Runs a Celery worker (pool ``threads``, one task at a time) beside the main loop.

    The main loop must not depend on it: with a dead broker it waits and reconnects, and when its
    thread ends in an unforeseen way, ``keep_alive`` starts another.

    Args:
        broker_url: Address of the broker.
        task: What is rung for.
        on_ring: Called in Celery's thread with the identifier; must return at once.
        queues: Queues of runs to listen to.
    """

    def __init__(
        self,
        broker_url: str,
        task: TaskName,
        on_ring: Callable[[str], None],
        queues: Sequence[str] = (DEFAULT_QUEUE,),
    ) -> None:
        self._task = task
        self._queues = [celery_queue(task, name) for name in queues]
        self._app = worker_app(broker_url)
        self._thread: threading.Thread | None = None
        self._started_at = -RESTART_SECONDS
        self._stopping = False

        def ring(identifier: str) -> None:
            on_ring(identifier)

        self._app.task(name=task, shared=False)(ring)
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def keep_alive(self) -> None:
        """Start the thread, or start it again when it has ended."""
        if self._stopping or (self._thread is not None and self._thread.is_alive()):
            return
        if time.monotonic() - self._started_at < RESTART_SECONDS:
            return
        if self._thread is not None:
            log.warning("the Celery consumer ended; it is started again")
        self._started_at = time.monotonic()
        self._thread = threading.Thread(target=self._consume, name="celery", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Stop listening; a consumer that waits for a dead broker is left to the process's end."""
        self._stopping = True
        if self._thread is None or not self._thread.is_alive():
            return
        # Celery's own way to be stopped from another thread.
        setattr(celery_state, "should_stop", os.EX_OK)  # noqa: B010
        self._thread.join(seconds)

    def _consume(self) -> None:
        setattr(celery_state, "should_stop", None)  # noqa: B010
        # The pool's threads look up the task in the process's default application.
        self._app.set_default()
        try:
            WorkController(
                app=self._app,
                hostname=f"{self._task}-{os.getpid()}",
                pool="threads",
                concurrency=1,
                queues=self._queues,
                without_heartbeat=True,
                without_mingle=True,
                without_gossip=True,
            ).start()
        except (CeleryError, KombuError, OSError):
            log.exception("the Celery consumer stopped; queued work is found by looking for it")
