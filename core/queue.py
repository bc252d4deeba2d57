"""The Celery application: a doorbell that wakes workers; the database row is the work.

A message says "look into the database". It carries one identifier for the log and may be lost,
doubled or late without harm: workers also look by themselves every few seconds.

Each queue of runs has one of Celery: ``execute`` for the queue ``default``, ``execute.<name>`` for
any other. All carry the same task.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from celery import Celery
from kombu.exceptions import KombuError

from core.settings import get_settings

TaskName = Literal["execute", "predict"]
EXECUTE: TaskName = "execute"
PREDICT: TaskName = "predict"
DEFAULT_QUEUE = "default"

RING_SECONDS = 0.3
SILENT_RING_SECONDS = 0.02
SOCKET_SECONDS = 0.25
WORKER_SOCKET_SECONDS = 5.0
MESSAGE_SECONDS = 600
WAITING_RINGS = 1000

log = logging.getLogger(__name__)


def queue_options(broker_url: str) -> dict[str, Any]:
    """Options of the Celery application for one broker.

    Args:
        broker_url: Address of a Redis or Valkey server, ``redis+socket://`` for a unix socket.
    """
    return {
        "broker_url": broker_url,
        # Identifiers only: nothing that executes code when it is read.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # The database holds results; a second place could only disagree with it.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # A task only sets an event. Late acknowledgement would deliver it twice.
        "task_acks_late": False,
        # No limit: tasks take microseconds. With a limit of one, a message whose acknowledgement
        # is lost with the broker holds the only credit, and the consumer never reads again.
        "worker_prefetch_multiplier": 0,
        # Cancelling goes through the database; remote control would be a second, unguarded way.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        # Our own logging stands; Celery would replace it.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        # A request must not wait for a broker: one try, then the workers' own look finds the row.
        "task_publish_retry": False,
        # A consumer outlives its broker: it tries again until the broker is back.
        "broker_connection_retry_on_startup": True,
        "broker_connection_retry": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": SOCKET_SECONDS,
        # Nothing runs long in Celery; saying so keeps it from warning at every lost connection.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # Rings come from one thread.
        "broker_pool_limit": 1,
        # max_retries 0: redis-py and kombu would otherwise try for seconds to minutes.
        "broker_transport_options": {
            "max_retries": 0,
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
        },
        # One name each; nothing creates further queues by a typing error.
        "task_create_missing_queues": True,
        "task_default_queue": EXECUTE,
        "enable_utc": True,
    }


def celery_queue(task: TaskName, queue_name: str = DEFAULT_QUEUE) -> str:
    """Name of the Celery queue that rings the workers of one queue of runs."""
    return task if queue_name == DEFAULT_QUEUE else f"{task}.{queue_name}"


def make_app(options: Callable[[], dict[str, Any]]) -> Celery:
    """Build a Celery application whose options are read at its first use.

    Args:
        options: Called once, when the application is first used.
    """
    celery_app = Celery("studio", set_as_current=False)
    celery_app.add_defaults(options)
    return celery_app


app = make_app(lambda: queue_options(get_settings().celery_broker_url))


@dataclass
class _Ring:
    task: TaskName
    celery_queue: str
    identifier: str
    answered: threading.Event = field(default_factory=threading.Event)
    sent: bool = False


class Bell:
    """Rings queues without ever holding up the caller for longer than ``RING_SECONDS``.

    A thread of its own sends, because looking up a host name can block beyond every socket
    time-out. When it is stuck or the broker is away, a ring is dropped and says so once.
    """

    def __init__(self, celery_app: Celery) -> None:
        self._app = celery_app
        self._rings: queue.Queue[_Ring] = queue.Queue(maxsize=WAITING_RINGS)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._silent = False

    def ring(self, task: TaskName, identifier: str, queue_name: str = DEFAULT_QUEUE) -> bool:
        """Send one message.

        Args:
            task: Which kind of worker is rung.
            identifier: Run or prediction; for the worker's log.
            queue_name: Queue that the run waits in.

        Returns:
            True when the broker took the message within ``RING_SECONDS``. False changes
            nothing but the delay: a worker finds the row at its next look.
        """
        ring = _Ring(task, celery_queue(task, queue_name), identifier)
        self._start_thread()
        try:
            self._rings.put_nowait(ring)
        except queue.Full:
            return False
        # While the broker is known to be away, a study of many runs must not wait for each.
        ring.answered.wait(SILENT_RING_SECONDS if self._silent else RING_SECONDS)
        return ring.sent

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="bell", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            ring = self._rings.get()
            try:
                self._app.send_task(
                    ring.task,
                    args=[ring.identifier],
                    queue=ring.celery_queue,
                    expires=MESSAGE_SECONDS,
                    ignore_result=True,
                    retry=False,
                )
            except (KombuError, OSError) as error:
                self._told_away(error)
            else:
                ring.sent = True
                if self._silent:
                    log.info("the broker is back; workers are rung again")
                self._silent = False
            ring.answered.set()

    def _told_away(self, error: Exception) -> None:
        if not self._silent:
            log.warning(
                "the broker cannot be reached (%s); workers find queued work by themselves", error
            )
        self._silent = True


_bell = Bell(app)


def ring_execute(run_id: str, queue: str = DEFAULT_QUEUE) -> bool:
    """Wake a training worker after a run was queued or asked to stop; see ``Bell.ring``.

    Args:
        run_id: For the worker's log.
        queue: Queue that the run waits in or came from.
    """
    return _bell.ring(EXECUTE, run_id, queue)


def ring_predict(prediction_id: str) -> bool:
    """Wake the predictor after a prediction was stored; see ``Bell.ring``."""
    return _bell.ring(PREDICT, prediction_id)
