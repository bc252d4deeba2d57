"""Progress of a study in a terminal: a bar, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from core.states import ACTIVE, RunState, is_ended
from core.store.views import RunRow
from core.wording import counted, percent

LEAST_SHARE_FOR_ETA = 0.02


def share_done(rows: Sequence[RunRow]) -> float:
    """Share of the work that is done, 0 to 1; ended runs count as done whatever their end."""
    if not rows:
        return 0.0
    return sum(1.0 if is_ended(row.state) else row.share_done for row in rows) / len(rows)


def seconds_left(share: float, elapsed: float) -> float | None:
    """Expect the rest to go as fast as the part that is done; None while that part is small."""
    if share < LEAST_SHARE_FOR_ETA:
        return None
    return elapsed * (1.0 - share) / share


def duration(seconds: float) -> str:
    """Write seconds as minutes and seconds, with hours when there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def name_of(row: RunRow, rows: Sequence[RunRow]) -> str:
    """Name a run by its method, with its backbone where those of its study differ."""
    has_several = len({one.backbone for one in rows}) > 1
    return f"{row.method_label} ({row.backbone})" if has_several else row.method_label


def doing(rows: Sequence[RunRow]) -> str:
    """Say what is being trained now and how far it is."""
    active = [row for row in rows if row.state in ACTIVE]
    if not active:
        waiting = sum(row.state is RunState.QUEUED for row in rows)
        return "waiting for the worker" if waiting else "finishing"
    methods = Counter(name_of(row, rows) for row in active)
    names = ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in methods.items())
    first = active[0]
    if first.total_steps:
        return f"{names}: update {first.last_step} of {first.total_steps}"
    return f"{names}: {first.phase or 'starting'}"


class StudyProgress:
    """Shows where a study stands; on a terminal as a bar, else one line for each change.

    Args:
        console: Where it is shown.
        total: Runs of the study.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.began = time.monotonic()
        self.states: dict[str, RunState] = {}
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.fields[ended]}/{task.fields[runs]}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.description}"),
                console=console,
            )
            self._task = self._bar.add_task(
                "", total=1.0, ended=0, runs=counted(total, "run"), left=""
            )

    def __enter__(self) -> StudyProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, rows: Sequence[RunRow]) -> None:
        """Show the newest state of the study's runs."""
        elapsed = time.monotonic() - self.began
        share = share_done(rows)
        ended = sum(is_ended(row.state) for row in rows)
        if self._bar is not None:
            left = seconds_left(share, elapsed)
            self._bar.update(
                self._task,
                completed=share,
                description=doing(rows),
                ended=ended,
                runs=counted(len(rows), "run"),
                left="" if left is None or share == 1.0 else f"{duration(left)} left",
            )
            return
        for row in rows:
            if self.states.get(row.id, RunState.QUEUED) is not row.state:
                self.tell(f"{row.slug} {name_of(row, rows)} on {row.task}: {describe(row)}")
            self.states[row.id] = row.state

    def tell(self, text: str) -> None:
        """Write a line beside the bar, with the time since the start."""
        elapsed = duration(time.monotonic() - self.began)
        self.console.print(f"[{elapsed:>6}] {text}", markup=False, highlight=False, soft_wrap=True)


def describe(row: RunRow) -> str:
    """Say a run's state with its number or its reason."""
    if row.state is RunState.SUCCEEDED:
        numbers = ", ".join(f"{name} {percent(value)}" for name, value in row.dev.items())
        flags = f" ({', '.join(row.flags)})" if row.flags else ""
        return f"succeeded, dev {numbers}{flags}"
    if row.state is RunState.FAILED:
        return f"failed: {row.exit_detail or row.exit_kind}"
    return str(row.state)
