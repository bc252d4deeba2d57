from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest

from core.recipe import Recipe
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome, StopKind
from worker.pipe_reporter import PipeReporter
from worker.protocol import (
    Cancel,
    CheckpointMessage,
    Drain,
    EndedMessage,
    Exit,
    LineBuffer,
    Message,
    ProgressMessage,
    ProtocolError,
    Ready,
    RunMessage,
    ScalarsMessage,
    Train,
    TrainMember,
    decode_down,
    decode_up,
    encode,
)


def make_train() -> Train:
    recipe = Recipe.model_validate(
        {"name": "x", "tasks": ["desk"], "methods": ["prompt_tuning", "adap_ins_pos"]}
    )
    members = [
        TrainMember(run_id=str(number), config=config, folder=f"/f/{number}")
        for number, config in enumerate(recipe.runs())
    ]
    return Train(group_id="g", members=tuple(members), data_folders=("/d",), log_path="/l")


@pytest.mark.parametrize("message", [make_train(), Cancel(run_id="a"), Drain(), Exit()])
def test_orders_come_back_as_they_were(message: Train | Cancel | Drain | Exit) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_down(line) == message


def test_a_number_that_is_not_finite_travels_as_null() -> None:
    lines: list[bytes] = []
    reporter = PipeReporter(["r"], lines.append, lambda _: None)
    reporter.scalars("r", 1, {"a": math.nan, "b": math.inf, "c": 0.5})
    reporter.progress("r", Progress("training", 1, 2, seconds_per_step=math.nan))
    reporter.ended(
        "r", Ending(Outcome.SUCCEEDED, result={"dev": {"x": math.nan}, "list": [math.inf, 1]})
    )

    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is no JSON")

    for line in lines:
        json.loads(line, parse_constant=refuse)
    scalars, _, ended = (decode_up(line) for line in lines)
    assert isinstance(scalars, ScalarsMessage)
    assert scalars.rows == ((1, {"a": None, "b": None, "c": 0.5}),)
    assert isinstance(ended, EndedMessage)
    assert ended.result == {"dev": {"x": None}, "list": [None, 1]}


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"type":"dance"}', b'{"type":"ready"}', b'{"type":"cancel","run_id":"a"}',
     b'{"type":"ready","pid":1,"more":2}', b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        decode_up(line)


def test_a_line_over_the_limit_is_refused_on_both_sides() -> None:
    with pytest.raises(ProtocolError, match="over"):
        encode(EndedMessage(run_id="r", outcome=Outcome.FAILED, detail="x" * 5_000_000))
    buffer = LineBuffer(max_line=10)
    assert list(buffer.feed(b"12345\n1234567")) == [b"12345"]
    with pytest.raises(ProtocolError, match="longer than 10"):
        list(buffer.feed(b"890123"))


def test_lines_are_cut_wherever_the_pipe_cuts_them() -> None:
    stream = b"".join(encode(Ready(pid=number, finished="é" * 50)) for number in range(20))
    for size in (1, 7, 64, len(stream)):
        buffer = LineBuffer()
        lines = [
            line
            for start in range(0, len(stream), size)
            for line in buffer.feed(stream[start : start + size])
        ]
        assert [decode_up(line) for line in lines] == [
            Ready(pid=number, finished="é" * 50) for number in range(20)
        ]


class Pipe:
    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[bytes] = []
        self.reporter = PipeReporter(["a", "b"], self.lines.append, self.wanted, lambda: self.now)
        self.stop: StopKind | None = None

    def wanted(self, _run_id: str) -> StopKind | None:
        return self.stop

    def take(self) -> Iterator[Message]:
        while self.lines:
            message = decode_up(self.lines.pop(0))
            assert isinstance(message, Message)
            yield message


def kinds(pipe: Pipe) -> list[tuple[str, str]]:
    messages = list(pipe.take())
    assert all(not isinstance(message, Ready) for message in messages)
    found: list[RunMessage] = messages  # type: ignore[assignment]
    return [(message.type, message.run_id) for message in found]


def test_scalars_wait_for_a_quarter_of_a_second() -> None:
    pipe = Pipe()
    for step in range(1, 101):
        pipe.now += 0.01
        pipe.reporter.scalars("a", step, {"train/loss": 1.0})
    assert len(pipe.lines) == 4
    rows = [row for message in pipe.take() for row in message.rows]  # type: ignore[attr-defined]
    assert [step for step, _ in rows] == list(range(1, 101))


def test_asking_for_stops_also_sends_what_has_waited() -> None:
    pipe = Pipe()
    pipe.reporter.scalars("a", 1, {"train/loss": 1.0})
    assert pipe.reporter.stop_wanted("a") is None
    assert not pipe.lines
    pipe.now, pipe.stop = 0.3, StopKind.CANCEL
    assert pipe.reporter.stop_wanted("a") is StopKind.CANCEL
    assert kinds(pipe) == [("scalars", "a")]


def test_a_checkpoint_comes_after_the_numbers_before_it(tmp_path: object) -> None:
    pipe = Pipe()
    pipe.reporter.progress("a", Progress("training", 0, 9))
    pipe.reporter.scalars("a", 1, {"x": 1.0})
    pipe.reporter.progress("a", Progress("training", 1, 9))
    pipe.reporter.checkpoint("a", Checkpoint(1, "/f", "0", 1))  # type: ignore[arg-type]
    messages = list(pipe.take())
    assert [type(message) for message in messages] == [
        ProgressMessage, ScalarsMessage, ProgressMessage, CheckpointMessage,
    ]  # fmt: skip


def test_nothing_follows_the_end_of_a_run() -> None:
    pipe = Pipe()
    pipe.reporter.scalars("a", 1, {"x": 1.0})
    pipe.reporter.ended("a", Ending(Outcome.FAILED, kind="k", detail="d"))
    pipe.reporter.scalars("a", 2, {"x": 1.0})
    pipe.reporter.progress("a", Progress("training", 2, 9))
    pipe.reporter.histogram("a", "cut", 2, [1])
    pipe.reporter.ended("a", Ending(Outcome.SUCCEEDED))
    pipe.reporter.flush()
    assert kinds(pipe) == [("scalars", "a"), ("ended", "a")]
    assert pipe.reporter.open_runs() == ["b"]


def test_a_flood_of_scalars_is_sent_in_bounded_lines() -> None:
    pipe = Pipe()
    for step in range(5_000):
        pipe.reporter.scalars("a", step, {f"name/{number}": 0.123456789 for number in range(20)})
    assert len(pipe.lines) == 5
    assert max(len(line) for line in pipe.lines) < 1_000_000
