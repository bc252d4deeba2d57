"""Start a worker: ``python -m worker --role train|predict [--device cpu] [--queues a,b]``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

from core.errors import StudioError
from core.logs import configure_logging
from core.queue import DEFAULT_QUEUE, EXECUTE, PREDICT, ring_execute
from core.settings import Settings, get_settings
from core.store.session import Store, get_store
from core.store.waiting import queue_names
from worker.celery_app import Doorbell
from worker.device import find_device, trainer_environment
from worker.predictor import PredictionLoop, TorchAnswerer
from worker.supervisor import Supervisor, WorkerDescription
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import TrainerProcess

BAD_INPUT = 2

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until TERM or Ctrl-C; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--role", choices=("train", "predict"), default="train")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    parser.add_argument("--home", default="", help="folder of database, logs and artifacts")
    parser.add_argument("--name", default="", help="name in the list of workers")
    parser.add_argument(
        "--queues", default=DEFAULT_QUEUE, help="queues to take runs from, with commas between"
    )
    options = parser.parse_args(arguments)
    if options.home:
        os.environ["STUDIO_HOME"] = options.home
    settings = get_settings()
    configure_logging(settings.log_format)
    broker = settings.celery_broker_url
    name = options.name or f"{socket.gethostname()}-{options.role}-{os.getpid()}"
    try:
        store = get_store()
        if options.role == "train":
            queues = queue_names(options.queues.split(","))
            loop = train_loop(settings, store, name, options.device, queues)
            work(loop, Doorbell(broker, EXECUTE, lambda _run: loop.wake(), queues))
        else:
            answers = predict_loop(settings, store, name)
            work(answers, Doorbell(broker, PREDICT, lambda _prediction: answers.wake()))
    except StudioError as error:
        log.error("%s", error)
        return BAD_INPUT
    return 0


def train_loop(
    settings: Settings, store: Store, name: str, device_name: str, queues: tuple[str, ...]
) -> Supervisor:
    """Build the loop that trains.

    Raises:
        ConfigError: If the device is not here.
    """
    device = find_device(device_name, settings.threads)
    command = [
        sys.executable, "-m", "worker.trainer",
        "--device", device.name,
        "--threads", str(device.threads),
        "--log-format", settings.log_format,
        *(["--offline"] if settings.offline else []),
    ]  # fmt: skip

    def start_trainer(logs: TrainerLogs, group_id: str) -> TrainerProcess:
        environment = trainer_environment(device, os.environ)
        return TrainerProcess(command, environment, logs.path(group_id))

    log.info("training on %s for the queues %s", device.label, ", ".join(queues))
    description = WorkerDescription(
        name, device.label, dict(device.facts), queues, device.memory_bytes, device.visible
    )
    return Supervisor(store, settings, description, start_trainer, ring=ring_execute)


def predict_loop(settings: Settings, store: Store, name: str) -> PredictionLoop:
    """Build the loop that answers; one thread, set before any library counts the cores."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    return PredictionLoop(
        store, settings, lambda: TorchAnswerer(settings.offline), name, ring=ring_execute
    )


def work(loop: Supervisor | PredictionLoop, doorbell: Doorbell) -> None:
    """Run a loop in this thread with its doorbell beside it, until TERM or Ctrl-C.

    Raises:
        StoreError: If the database is not usable at the start.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.request_stop()

    loop.on_turn = doorbell.keep_alive
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        loop.run()
    finally:
        doorbell.stop()


if __name__ == "__main__":
    sys.exit(main())
