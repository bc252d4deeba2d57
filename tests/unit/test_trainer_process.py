from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.recipe import Recipe
from core.states import Outcome
from tests.worker_tools import FAKE_TRAINER, ROOT, fake_environment, is_alive, wait_for
from worker.protocol import (
    Cancel,
    Drain,
    EndedMessage,
    Exit,
    ProtocolError,
    Ready,
    RunMessage,
    Train,
    TrainMember,
)
from worker.trainer_process import TrainerProcess

Start = Callable[..., TrainerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[TrainerProcess] = []

    def start_one(**plan: Any) -> TrainerProcess:
        process = TrainerProcess(FAKE_TRAINER, fake_environment(plan), tmp_path / "out.log")
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.bury()
        assert not is_alive(process.pid)


def make_group(folder: Path, count: int = 1) -> Train:
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "tasks": ["desk"],
            "methods": ["prompt_tuning"],
            "seeds": {"init": list(range(count))},
        }
    )
    members = [
        TrainMember(run_id=f"run{number}", config=config, folder=str(folder / f"run{number}"))
        for number, config in enumerate(recipe.runs())
    ]
    return Train(group_id="g1", members=tuple(members), log_path=str(folder / "group.log"))


def read_until(
    process: TrainerProcess, enough: Callable[[list[Ready | RunMessage]], bool]
) -> list[Ready | RunMessage]:
    got: list[Ready | RunMessage] = []

    def look() -> bool:
        process.push()
        got.extend(process.read())
        return enough(got) or process.is_silent

    wait_for(look)
    return got


def has_finished(messages: list[Ready | RunMessage]) -> bool:
    return any(isinstance(message, Ready) and message.finished for message in messages)


def endings(messages: list[Ready | RunMessage]) -> dict[str, Outcome]:
    return {m.run_id: m.outcome for m in messages if isinstance(m, EndedMessage)}


def test_a_group_is_trained_and_the_trainer_waits_for_the_next(
    start: Start, tmp_path: Path
) -> None:
    process = start(steps=4, pause=0)
    for _ in range(2):
        process.send(make_group(tmp_path, 2).model_copy(update={"log_path": ""}))
        got = read_until(process, has_finished)
        assert set(endings(got).values()) <= {Outcome.SUCCEEDED, Outcome.FAILED}
    process.send(Exit())
    wait_for(lambda: process.poll() is not None)
    assert process.bury().code == 0


def test_its_output_goes_to_the_log_of_the_group(start: Start, tmp_path: Path) -> None:
    process = start(steps=1, pause=0)
    process.send(make_group(tmp_path, 2))
    read_until(process, has_finished)
    assert "fake trainer has 2 runs" in (tmp_path / "group.log").read_text()


def test_it_gives_way_and_holds_nothing_but_its_pipes_and_its_log(start: Start) -> None:
    process = start()
    read_until(process, bool)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.nice(0) + 10)
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    assert int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) == 500
    targets = [os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    kinds = sorted(target.split(":")[0].rpartition("/")[2] for target in targets)
    assert kinds == ["null", "out.log", "out.log", "pipe", "pipe"]


PARENT = """
import sys, time
from pathlib import Path
from tests.worker_tools import FAKE_TRAINER, fake_environment
from tests.unit.test_trainer_process import make_group, read_until
from worker.trainer_process import TrainerProcess
folder = Path(sys.argv[1])
process = TrainerProcess(FAKE_TRAINER, fake_environment({"pause": 60}), folder / "out.log")
process.send(make_group(folder))
read_until(process, bool)
time.sleep(0.3)
sys.stdout.write(f"{process.pid}\\n")
sys.stdout.flush()
time.sleep(60)
"""


def test_it_leaves_in_the_middle_of_a_step_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(pid))


def test_end_of_file_alone_ends_it_in_the_middle_of_a_step(start: Start, tmp_path: Path) -> None:
    process = start(pause=60)
    process.send(make_group(tmp_path))
    read_until(process, bool)
    time.sleep(0.2)
    os.close(process._down)
    process._down = os.open(os.devnull, os.O_WRONLY)
    wait_for(lambda: process.poll() is not None)
    death = process.poll()
    assert death is not None
    assert death.code == 0


def test_cancel_stops_one_run_and_drain_the_others(start: Start, tmp_path: Path) -> None:
    process = start(steps=1000, pause=0.005)
    process.send(make_group(tmp_path, 3))
    read_until(process, lambda got: len(got) > 3)
    process.send(Cancel(run_id="run1"))
    got = read_until(process, endings)  # type: ignore[arg-type]
    assert endings(got) == {"run1": Outcome.CANCELLED}
    process.send(Drain())
    got = read_until(process, has_finished)
    assert endings(got) == {"run0": Outcome.DRAINED, "run2": Outcome.DRAINED}
    assert list(tmp_path.glob("run0/step-*/state.json"))
    process.send(make_group(tmp_path))
    got = read_until(process, lambda got: any(m.type == "scalars" for m in got))
    assert not endings(got), "an old drain must not reach the next group"


def test_an_unforeseen_failure_ends_the_run_but_not_the_process(
    start: Start, tmp_path: Path
) -> None:
    process = start(raise_at=3, pause=0)
    process.send(make_group(tmp_path))
    got = read_until(process, has_finished)
    ended = [message for message in got if isinstance(message, EndedMessage)]
    assert {(m.outcome, m.kind) for m in ended} == {(Outcome.FAILED, "internal")}
    assert "ValueError: the fake engine was told to fail" in ended[0].detail
    assert "Traceback" not in ended[0].detail
    assert "Traceback" in (tmp_path / "group.log").read_text()
    assert process.poll() is None


def test_an_unforeseen_failure_of_a_group_is_pinned_on_nobody(start: Start, tmp_path: Path) -> None:
    process = start(raise_at=3, pause=0)
    process.send(make_group(tmp_path, 2))
    got = read_until(process, lambda _: False)
    assert not [message for message in got if isinstance(message, EndedMessage)]
    assert process.bury().reason == "left with exit code 70"
    assert "Traceback" in (tmp_path / "group.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_death_is_told_with_its_signal(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(die_at=3, die_by=int(number), pause=0)
    process.send(make_group(tmp_path))
    read_until(process, lambda _: False)
    process.last_words()
    death = process.bury()
    assert death.signal_name == number.name
    assert death.reason == f"was ended by {number.name}"


def test_an_exit_code_is_told(start: Start) -> None:
    process = start(die_at_start=True)
    read_until(process, lambda _: False)
    assert process.bury().reason == "left with exit code 3"


def test_a_trainer_that_outlives_its_kill_holds_nobody_up(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = start()
    monkeypatch.setattr("worker.trainer_process.BURY_SECONDS", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", lambda *_: None)
        assert process.bury().signal_name == "SIGKILL"
    assert "did not end within" in caplog.text
    assert is_alive(process.pid)
    os.killpg(process.pid, signal.SIGKILL)


def test_a_huge_line_and_garbage_are_refused(start: Start, tmp_path: Path) -> None:
    for plan in ({"huge": True}, {"garbage": True}):
        process = start(pause=0, steps=1, **plan)
        process.send(make_group(tmp_path / str(plan)).model_copy(update={"log_path": ""}))
        with pytest.raises(ProtocolError):
            read_until(process, lambda _: False)
        process.bury()


def test_term_can_be_ignored_but_kill_cannot(start: Start, tmp_path: Path) -> None:
    process = start(ignores_term=True, is_deaf=True, pause=0.05, steps=1000)
    process.send(make_group(tmp_path))
    read_until(process, lambda got: len(got) > 2)
    process.signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.signal(signal.SIGKILL)
    wait_for(lambda: process.poll() is not None)


def test_orders_to_a_trainer_that_does_not_read_do_not_block(start: Start, tmp_path: Path) -> None:
    process = start(pause=0, steps=1)
    read_until(process, bool)
    process.signal(signal.SIGSTOP)
    big = make_group(tmp_path, 60)
    before = time.monotonic()
    for _ in range(3):
        process.send(big)
    assert time.monotonic() - before < 1.0
    process.signal(signal.SIGCONT)
    finished = read_until(process, lambda got: sum(isinstance(m, Ready) for m in got) >= 3)
    assert endings(finished)
