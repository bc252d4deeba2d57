"""What pages read: plain, frozen rows without a session behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.states import RunState


@dataclass(frozen=True)
class RunFilters:
    """Which runs a list shows; an empty field does not filter.

    Attributes:
        states: State names.
        tasks: Task names.
        methods: Method labels or kinds.
        study_ids: Studies.
        config_hash: Runs that differ in seeds alone.
        role: ``final`` or ``trial``.
        text: Part of a study's name, a task, method, backbone or regime; or the beginning of a
            short name (``S3``, ``S3-1``) or of a run's id, of which six digits must be given.
        demo: False leaves out the demo study.
    """

    states: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    study_ids: tuple[str, ...] = ()
    config_hash: str = ""
    role: str = ""
    text: str = ""
    demo: bool = True


@dataclass(frozen=True)
class RunRow:
    """One run in a list.

    Attributes:
        slug: Short name for people, for example ``S3-12``.
        dev: Numbers on dev at the selected checkpoint, empty before success and after a refit.
        metric: Name of the number in ``dev`` that chose the checkpoint; empty when there is none.
        flags: Warnings of a succeeded run.
        queue_position: Runs that come before it, itself included; 0 when not queued or not asked.
        checkpoint_step: Update that a next attempt continues from, 0 for the beginning.
        is_stalled: True while its trainer lives but tells no progress.
    """

    id: str
    study_id: str
    study_number: int
    study_name: str
    is_demo: bool
    ordinal: int
    task: str
    backbone: str
    regime: str
    method_kind: str
    method_label: str
    config_hash: str
    data_seed: int
    init_seed: int
    role: str
    priority: int
    state: RunState
    phase: str
    last_step: int
    total_steps: int
    seconds_per_step: float
    group_size: int
    attempt: int
    worker_id: str | None
    not_before: datetime | None
    exit_kind: str
    exit_detail: str
    num_trainable: Mapping[str, int]
    dev: Mapping[str, float]
    flags: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    queue_position: int = 0
    checkpoint_step: int = 0
    metric: str = ""
    is_stalled: bool = False

    @property
    def slug(self) -> str:
        """Short name for people, for example ``S3-12``."""
        return f"S{self.study_number}-{self.ordinal}"

    @property
    def score(self) -> float | None:
        """The number on dev that chose the checkpoint; None when there is none."""
        return self.dev.get(self.metric)

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds of training that remain; None when not known or not running."""
        if self.state not in (RunState.STARTING, RunState.RUNNING) or not self.seconds_per_step:
            return None
        return max(0, self.total_steps - self.last_step) * self.seconds_per_step

    @property
    def share_done(self) -> float:
        """Updates done of the updates planned, 0 to 1; of a waiting run those that are kept."""
        if self.state is RunState.SUCCEEDED:
            return 1.0
        done = self.checkpoint_step if self.state is RunState.QUEUED else self.last_step
        return min(1.0, done / self.total_steps) if self.total_steps else 0.0


@dataclass(frozen=True)
class ConfigGroup:
    """Runs of one study that differ in their seeds alone."""

    study_id: str
    config_hash: str
    rows: tuple[RunRow, ...]


@dataclass(frozen=True)
class GroupsPage:
    """A piece of the list of runs, folded by config.

    Attributes:
        total: Groups that the filters let through.
        num_runs: Runs that the filters let through.
        states: Number of these runs per state.
        tasks: Task names to filter by, of all runs.
        methods: Method labels to filter by, of all runs.
    """

    groups: tuple[ConfigGroup, ...]
    total: int
    num_runs: int
    limit: int
    offset: int
    states: Mapping[str, int]
    tasks: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class StudyRow:
    """One study in a list.

    Attributes:
        states: Number of its runs per state.
        selection: ``dev``, or ``paper_practice`` when checkpoints are chosen on what is reported.
    """

    id: str
    number: int
    name: str
    question: str
    protocol: str
    selection: str
    is_demo: bool
    priority: int
    states: Mapping[str, int]
    is_test_open: bool
    test_openings: int
    created_at: datetime
    closed_at: datetime | None
    cancelled_at: datetime | None

    @property
    def slug(self) -> str:
        """Short name for people, for example ``S3``."""
        return f"S{self.number}"

    @property
    def num_runs(self) -> int:
        """All runs of the study so far, a count."""
        return sum(self.states.values())


@dataclass(frozen=True)
class EventRow:
    """Something that happened to a run or a study; ``run_id`` is empty for the study's own."""

    study_id: str
    run_id: str
    slug: str
    before: str
    after: str
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class StudyView:
    """One study with its runs; ``recipe`` is JSON."""

    row: StudyRow
    recipe: str
    runs: tuple[RunRow, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True)
class SummaryRow:
    """Last, smallest and largest value of a scalar; None where there were only gaps."""

    name: str
    count: int
    last_step: int
    last_value: float | None
    min_step: int | None
    min_value: float | None
    max_step: int | None
    max_value: float | None

    @property
    def best_step(self) -> int | None:
        """Step of the smallest loss, or of the largest value of anything else."""
        return self.min_step if self.name.endswith("loss") else self.max_step

    @property
    def best_value(self) -> float | None:
        """Smallest loss, or largest value of anything else."""
        return self.min_value if self.name.endswith("loss") else self.max_value


@dataclass(frozen=True)
class CheckpointRow:
    """A registered checkpoint."""

    step: int
    attempt: int
    folder: str
    num_bytes: int
    is_best: bool
    created_at: datetime


@dataclass(frozen=True)
class WorkerRow:
    """A worker; ``seconds_silent`` is the age of its last heartbeat by the wall clock.

    Attributes:
        queues: Names of the queues that it serves.
        memory_bytes: Memory of its device; 0 when it is not known.
        memory_used: What of it was in use at the last heartbeat, in bytes; 0 when not known.
    """

    id: str
    name: str
    role: str
    host: str
    pid: int
    device: str
    info: Mapping[str, Any]
    hb_seq: int
    state: str
    started_at: datetime
    seconds_silent: float
    run_ids: tuple[str, ...] = ()
    queues: tuple[str, ...] = ("default",)
    memory_bytes: int = 0
    memory_used: int = 0


@dataclass(frozen=True)
class RunView:
    """Everything of one run's page.

    Attributes:
        config: Canonical JSON of the config.
        result: Numbers of a succeeded run, without its ``test`` part while the test is sealed.
        is_test_open: Tells whether numbers of the test split may be shown.
        artifacts: Paths by name, as registered.
        histograms: Names of the histograms it has.
        curve_epoch: Rises when points were dropped; see ``scalars.read_curve``.
    """

    row: RunRow
    study: StudyRow
    config: str
    result: Mapping[str, Any]
    is_test_open: bool
    summaries: Mapping[str, SummaryRow]
    histograms: tuple[str, ...]
    checkpoints: tuple[CheckpointRow, ...]
    artifacts: Mapping[str, str]
    events: tuple[EventRow, ...]
    worker: WorkerRow | None
    curve_epoch: int
    log_path: str


@dataclass(frozen=True)
class ComparisonRow:
    """One run in a comparison.

    Attributes:
        selection: What its checkpoint was chosen on: ``dev``, ``paper_practice``, ``fold``,
            ``refit``.
        result: Numbers of the run, without ``test`` while its study's test is sealed.
        apart: What other compared runs with its label have otherwise; empty: nothing, or not known.
    """

    run_id: str
    study_id: str
    study_number: int
    study_name: str
    is_demo: bool
    slug: str
    task: str
    backbone: str
    regime: str
    method_kind: str
    method_label: str
    config_hash: str
    data_seed: int
    init_seed: int
    role: str
    state: RunState
    protocol: str
    is_test_open: bool
    test_openings: int
    num_trainable: Mapping[str, int]
    result: Mapping[str, Any]
    selection: str = "dev"
    apart: str = ""


@dataclass(frozen=True)
class PlaygroundRun:
    """A succeeded run that can classify.

    Attributes:
        task: What it was trained on, a name, or several with ``+`` between when joint.
        adapter: Path as registered.
        dev: Numbers on dev at the selected checkpoint.
        dev_of: The same of each task that it was trained on, by the task's name.
        flags_of: Flags of each task of a joint run, by the task's name; else empty.
        metric: Name of the number in ``dev`` that chose the checkpoint; empty when there is none.
    """

    run_id: str
    slug: str
    study_id: str
    study_name: str
    is_demo: bool
    task: str
    backbone: str
    regime: str
    method_kind: str
    method_label: str
    config_hash: str
    data_seed: int
    init_seed: int
    adapter: str
    dev: Mapping[str, float]
    dev_of: Mapping[str, Mapping[str, float]]
    flags_of: Mapping[str, tuple[str, ...]]
    flags: tuple[str, ...]
    ended_at: datetime | None
    metric: str = ""


@dataclass(frozen=True)
class HomeView:
    """What the first page shows.

    Attributes:
        states: Runs per state, all studies.
        active: Runs that a worker holds, at most 20.
        waiting: The next queued runs in the order of claims, at most 10, with their position.
        attention: Failed runs of the last week, newest first, at most 10.
        finished: Newest succeeded runs, at most 10.
        studies: Newest studies, at most 10.
        workers: Workers that are alive or were lost or stopped in the last hour.
        demo: The demo study, None when there is none.
    """

    states: Mapping[str, int]
    active: tuple[RunRow, ...]
    waiting: tuple[RunRow, ...]
    attention: tuple[RunRow, ...]
    finished: tuple[RunRow, ...]
    studies: tuple[StudyRow, ...]
    workers: tuple[WorkerRow, ...]
    demo: StudyRow | None
