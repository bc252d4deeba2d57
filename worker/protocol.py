"""Messages between the supervisor and its trainer process: one JSON object a line.

Down (supervisor to trainer): ``train``, ``cancel``, ``drain``, ``exit``.
Up (trainer to supervisor): ``ready``, ``progress``, ``scalars``, ``histogram``, ``checkpoint``,
``notice``, ``ended``. Lines are strict JSON: a number that is not finite travels as null.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.recipe import RunConfig
from core.states import Outcome

MAX_LINE = 4 * 1024 * 1024
MAX_POINTS = 20_000


class ProtocolError(Exception):
    """A line is too long, no JSON, or not a message."""


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainMember(Message):
    """One run of a group, with the folder that belongs to this attempt alone.

    Attributes:
        run_id: The run.
        config: Its configuration.
        folder: For checkpoints and artifacts of this attempt.
        resume_from: Checkpoint folder to continue from; null: start anew.
        init_from: Adapter folder of the run whose method the tensors start from; null: none.
        slug: Short name for logs.
        attempt: Counts the claims of this run.
        fence: Of this attempt, for logs; the trainer writes to no database.
    """

    run_id: str
    config: RunConfig
    folder: str
    resume_from: str | None = None
    init_from: str | None = None
    slug: str = ""
    attempt: int = 0
    fence: int = 0


class Train(Message):
    """Train a group; the trainer answers with ``ready`` when all members have ended."""

    type: Literal["train"] = "train"
    group_id: str
    members: tuple[TrainMember, ...] = Field(min_length=1)
    data_folders: tuple[str, ...] = ()
    log_path: str = ""


class Cancel(Message):
    """Stop one run at its next step boundary; it ends as cancelled."""

    type: Literal["cancel"] = "cancel"
    run_id: str


class Drain(Message):
    """Checkpoint all runs at their next step boundary; they end as drained."""

    type: Literal["drain"] = "drain"


class Exit(Message):
    """Leave when no group is being trained."""

    type: Literal["exit"] = "exit"


class Ready(Message):
    """The trainer waits for a group; ``finished`` names the one it has just trained."""

    type: Literal["ready"] = "ready"
    pid: int
    finished: str = ""


class ProgressMessage(Message):
    """Where a run stands; the last one of a flush."""

    type: Literal["progress"] = "progress"
    run_id: str
    phase: str
    step: int
    total_steps: int
    seconds_per_step: float
    num_trainable: dict[str, int]
    group: int


class ScalarsMessage(Message):
    """Numbers of one run since the last flush: per step, value by name; null is a gap."""

    type: Literal["scalars"] = "scalars"
    run_id: str
    rows: tuple[tuple[int, dict[str, float | None]], ...]


class HistogramMessage(Message):
    """Counts of one histogram at one step."""

    type: Literal["histogram"] = "histogram"
    run_id: str
    name: str
    step: int
    counts: tuple[int, ...]


class CheckpointMessage(Message):
    """A checkpoint is durable on disk."""

    type: Literal["checkpoint"] = "checkpoint"
    run_id: str
    step: int
    folder: str
    sha256: str
    num_bytes: int
    is_best: bool


class NoticeMessage(Message):
    """A sentence about this attempt that people should read."""

    type: Literal["notice"] = "notice"
    run_id: str
    text: str


class EndedMessage(Message):
    """The end of one run's attempt."""

    type: Literal["ended"] = "ended"
    run_id: str
    outcome: Outcome
    kind: str = ""
    detail: str = ""
    result: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


Down = Annotated[Train | Cancel | Drain | Exit, Field(discriminator="type")]
Up = Annotated[
    Ready
    | ProgressMessage
    | ScalarsMessage
    | HistogramMessage
    | CheckpointMessage
    | NoticeMessage
    | EndedMessage,
    Field(discriminator="type"),
]
RunMessage = (
    ProgressMessage
    | ScalarsMessage
    | HistogramMessage
    | CheckpointMessage
    | NoticeMessage
    | EndedMessage
)

DOWN: TypeAdapter[Train | Cancel | Drain | Exit] = TypeAdapter(Down)
UP: TypeAdapter[Ready | RunMessage] = TypeAdapter(Up)


def finite(value: Any) -> Any:
    """Replace every float that is not finite by None, in nested mappings and sequences."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value


def encode(message: Message) -> bytes:
    """Write a message as one line of strict JSON with its end of line.

    Raises:
        ProtocolError: If the line is longer than ``MAX_LINE`` bytes.
    """
    line = message.model_dump_json().encode() + b"\n"
    if len(line) > MAX_LINE:
        kind = type(message).__name__
        raise ProtocolError(f"a {kind} message of {len(line)} bytes is over {MAX_LINE}")
    return line


def decode_down(line: bytes) -> Train | Cancel | Drain | Exit:
    """Read one line for the trainer.

    Raises:
        ProtocolError: If it is no message.
    """
    try:
        return DOWN.validate_json(line)
    except ValidationError as error:
        raise ProtocolError(_what_is_wrong(line, error)) from error


def decode_up(line: bytes) -> Ready | RunMessage:
    """Read one line for the supervisor.

    Raises:
        ProtocolError: If it is no message.
    """
    try:
        return UP.validate_json(line)
    except ValidationError as error:
        raise ProtocolError(_what_is_wrong(line, error)) from error


def _what_is_wrong(line: bytes, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"not a message: {first['msg']} at '{place}' in {line[:200]!r}"


class LineBuffer:
    """Cuts a stream of bytes into lines and refuses an endless one."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._parts = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes and yield the lines that are complete, without their end.

        Raises:
            ProtocolError: If a line grows over the limit.
        """
        self._parts += data
        while (end := self._parts.find(b"\n")) >= 0:
            line = bytes(self._parts[:end])
            del self._parts[: end + 1]
            yield line
        if len(self._parts) > self._max_line:
            raise ProtocolError(f"a line is longer than {self._max_line} bytes")
