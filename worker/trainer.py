"""The trainer process: trains group after group and talks to its supervisor over two pipes.

It keeps backbones warm between groups, touches no database and leaves when its supervisor does:
the end of file on the pipe from the supervisor ends it on every platform, even inside a step.
Standard output and error are a log file, never the protocol.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import importlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.artifacts import artifact_store
from core.errors import StudioError
from core.logs import LoggedRun, configure_logging, log_contexts
from core.reporting import Ending
from core.settings import get_settings
from core.states import Outcome, StopKind
from worker.pipe_reporter import PipeReporter
from worker.protocol import (
    Cancel,
    Drain,
    Exit,
    LineBuffer,
    ProtocolError,
    Ready,
    Train,
    decode_down,
    encode,
)
from worker.shipping import ShippingReporter

NICE = 10
READ_BYTES = 65536
PR_SET_PDEATHSIG = 1
OOM_SCORE = "500"
UNFORESEEN = 70
"""Exit code of a trainer that met an error which it cannot pin on one run."""

TrainGroup = Callable[[Train, PipeReporter], None]
"""Trains the members of a message and reports each one's end."""

log = logging.getLogger(__name__)


@dataclass
class Orders:
    """What the supervisor wants, shared by the thread that reads and the one that trains."""

    groups: queue.Queue[Train | None] = field(default_factory=queue.Queue)
    cancelled: set[str] = field(default_factory=set)
    draining: threading.Event = field(default_factory=threading.Event)

    def follow(self, message: Train | Cancel | Drain | Exit) -> None:
        """Take one order over."""
        match message:
            case Train():
                self.cancelled.clear()
                self.draining.clear()
                self.groups.put(message)
            case Cancel(run_id=run_id):
                self.cancelled.add(run_id)
            case Drain():
                self.draining.set()
            case Exit():
                self.groups.put(None)

    def stop_wanted(self, run_id: str) -> StopKind | None:
        """Tell whether a run must stop at its next step boundary."""
        if run_id in self.cancelled:
            return StopKind.CANCEL
        return StopKind.DRAIN if self.draining.is_set() else None


def read_orders(descriptor: int, orders: Orders) -> None:
    """Follow orders until the pipe ends, then end the process whatever it is doing."""
    buffer = LineBuffer()
    code = 0
    try:
        while data := os.read(descriptor, READ_BYTES):
            for line in buffer.feed(data):
                orders.follow(decode_down(line))
    except ProtocolError:
        log.exception("the supervisor sent something that cannot be understood")
        code = 2
    except OSError:
        log.exception("the pipe from the supervisor broke")
        code = 2
    # A step may hold the main thread for minutes; nobody would hear of its end.
    os._exit(code)


def serve(orders: Orders, up: int, train_group: TrainGroup) -> None:
    """Train group after group until ``exit``.

    Args:
        orders: Filled by ``read_orders`` in another thread.
        up: Descriptor of the pipe to the supervisor.
        train_group: The engine.
    """
    finished = ""
    while True:
        _write(up, encode(Ready(pid=os.getpid(), finished=finished)))
        message = orders.groups.get()
        if message is None:
            return
        _log_to(message.log_path)
        reporter = PipeReporter(
            (member.run_id for member in message.members),
            lambda line: _write(up, line),
            orders.stop_wanted,
        )
        about = (LoggedRun(item.slug, item.attempt, item.fence) for item in message.members)
        with log_contexts(item for item in about if item.run):
            _train(message, reporter, train_group)
        finished = message.group_id


def _train(message: Train, reporter: PipeReporter, train_group: TrainGroup) -> None:
    """Train one group; every member ends and the process goes on.

    Raises:
        SystemExit: After a failure that is not foreseen, while several runs are open: it is not
            known which of them caused it, so the supervisor must try each alone.
    """
    try:
        train_group(message, reporter)
    except StudioError as error:
        log.warning("the group cannot be trained: %s", error)
        _end_open(reporter, error.code, str(error))
    except Exception as error:
        log.exception("training failed in a way that is not foreseen")
        if len(reporter.open_runs()) > 1:
            reporter.flush()
            raise SystemExit(UNFORESEEN) from error
        name = type(error).__name__
        _end_open(
            reporter,
            "internal",
            f"Training stopped with {name}: {str(error)[:300]} The log of this attempt holds the "
            "place in the program; please report it.",
        )
    else:
        _end_open(reporter, "internal", "Training returned without telling how this run ended.")
    reporter.flush()


def _end_open(reporter: PipeReporter, kind: str, detail: str) -> None:
    for run_id in reporter.open_runs():
        reporter.ended(run_id, Ending(Outcome.FAILED, kind=kind, detail=detail))


def _write(descriptor: int, line: bytes) -> None:
    view = memoryview(line)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os._exit(0)


def _log_to(path: str) -> None:
    """Send standard output and error of this process, libraries included, to a group's file."""
    if not path:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with open(path, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def settle(nice: int = NICE) -> None:
    """Give way to the page and the predictor, die first when memory ends, follow the parent."""
    with contextlib.suppress(OSError):
        os.nice(nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Both write into the group's log: after a fault of native code, and when the supervisor asks.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    with contextlib.suppress(OSError, AttributeError):
        # Only an addition to the end of file: it fires when the spawning thread ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Options:
    """What the supervisor gives a trainer on its command line."""

    down: int
    up: int
    device: str
    threads: int
    offline: bool
    log_format: str


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m worker.trainer")
    parser.add_argument("--down", type=int, required=True)
    parser.add_argument("--up", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--log-format", default="text")
    return Options(**vars(parser.parse_args(arguments)))


def run(options: Options, load_engine: Callable[[Options], TrainGroup]) -> None:
    """Be a trainer process until ``exit`` or the end of the supervisor.

    Args:
        options: Pipes, device and threads.
        load_engine: Builds the engine; called after the end of file is watched, because
            importing it takes seconds.
    """
    configure_logging(options.log_format)
    settle()
    orders = Orders()
    threading.Thread(
        target=read_orders, args=(options.down, orders), name="orders", daemon=True
    ).start()
    serve(orders, options.up, load_engine(options))


def training_engine(options: Options) -> TrainGroup:
    """Load the training ring, torch included, and keep its backbones warm between groups."""
    engine = importlib.import_module("core.training.group")
    warm = engine.WarmBackbones(
        offline=options.offline, threads=options.threads, device=options.device
    )
    artifacts = artifact_store(get_settings())

    def train(message: Train, reporter: PipeReporter) -> None:
        shipping = ShippingReporter(reporter, artifacts)
        members = [
            engine.Member(
                run_id=member.run_id,
                config=member.config,
                folder=Path(member.folder),
                resume_from=Path(member.resume_from) if member.resume_from else None,
                init_from=Path(member.init_from) if member.init_from else None,
            )
            for member in shipping.fetched(message.members)
        ]
        folders = tuple(Path(folder) for folder in message.data_folders)
        engine.train_group(members, shipping, warm, folders)

    return train


if __name__ == "__main__":
    run(read_options(sys.argv[1:]), training_engine)
