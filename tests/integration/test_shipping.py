"""Artifacts of attempts: published before they are told, fetched before a run starts from them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core import fault_points
from core.artifacts import MANIFEST, ArtifactError, ArtifactStore
from core.errors import DamagedCheckpoint, DiskFull, StartError
from core.reporting import Checkpoint, Ending
from core.states import Outcome, StopKind
from core.store import studies
from core.store.session import Store
from tests.artifact_places import NAME, Machines, failing
from tests.store_tools import recipe, row, start, submit, succeed, worker
from worker.claiming import claim_group
from worker.pipe_reporter import PipeReporter
from worker.protocol import CheckpointMessage, EndedMessage, TrainMember, decode_up
from worker.shipping import PAUSES, Remover, ShippingReporter


@dataclass
class Shipped:
    """A shipping reporter on a pipe that only collects."""

    artifacts: ArtifactStore
    lines: list[Any] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        pipe = PipeReporter(("r1", "r2"), lambda line: self.lines.append(decode_up(line)), self.ask)
        self.reporter = ShippingReporter(pipe, self.artifacts, self.pauses.append)

    def ask(self, run_id: str) -> StopKind | None:
        return None

    def checkpoint(self, folder: Path) -> None:
        self.reporter.checkpoint("r1", Checkpoint(8, folder, "0" * 64, 10))


@pytest.fixture
def no_fault() -> Iterator[None]:
    yield
    fault_points.install(None)


def test_files_are_there_before_they_are_told(machines: Machines, no_fault: None) -> None:
    shipped = Shipped(machines.one)
    seen: list[tuple[str, bool, int]] = []
    fault_points.install(
        lambda point: seen.append((point, machines.two.exists(NAME), len(shipped.lines)))
    )
    folder = machines.seal()
    shipped.checkpoint(folder)
    assert seen == [("artifact.published", True, 0)]
    [message] = shipped.lines
    assert isinstance(message, CheckpointMessage)
    assert message.folder == str(folder)
    adapter = machines.seal("runs/r1/1-1/adapter")
    shipped.reporter.ended("r1", Ending(Outcome.SUCCEEDED, files={"adapter": adapter}))
    assert machines.two.fetch("runs/r1/1-1/adapter").is_dir()
    shipped.reporter.ended("r2", Ending(Outcome.CANCELLED))
    assert [line.outcome for line in shipped.lines[1:]] == [Outcome.SUCCEEDED, Outcome.CANCELLED]


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_place_that_refuses_ends_the_attempt_like_a_crash_after_three_tries(
    tries: int, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Shipped(machines.one)
    left = [ArtifactError("The place is away.")] * tries
    real = machines.one.publish

    def publish(path: Path) -> str:
        if left:
            raise left.pop()
        return real(path)

    monkeypatch.setattr(machines.one, "publish", publish)
    shipped.checkpoint(machines.seal())
    assert shipped.pauses == list(PAUSES[:tries])
    if tries < 3:
        assert isinstance(shipped.lines[0], CheckpointMessage)
        assert shipped.reporter.stop_wanted("r1") is None
        return
    [ended] = shipped.lines
    assert isinstance(ended, EndedMessage)
    assert (ended.outcome, ended.kind) == (Outcome.CRASHED, "artifacts")
    assert shipped.reporter.stop_wanted("r1") is StopKind.CANCEL
    assert shipped.reporter.stop_wanted("r2") is None
    shipped.checkpoint(machines.seal("runs/r1/1-1/later"))
    shipped.reporter.ended("r1", Ending(Outcome.SUCCEEDED))
    assert len(shipped.lines) == 1


def test_a_success_whose_files_cannot_be_published_is_none(machines: Machines) -> None:
    broken, _ = failing(machines.one, 1, OSError(errno.ENOSPC, "No space left on device"))
    shipped = Shipped(broken)
    adapter = machines.seal("runs/r1/1-1/adapter")
    shipped.reporter.ended("r1", Ending(Outcome.SUCCEEDED, files={"adapter": adapter}))
    [ended] = shipped.lines
    assert (ended.outcome, ended.kind) == (Outcome.FAILED, DiskFull.code)
    assert shipped.pauses == []


def member(artifacts: ArtifactStore, starts: Mapping[str, str]) -> TrainMember:
    paths = {name: str(artifacts.local / start) for name, start in starts.items()}
    return TrainMember(run_id="r1", config=recipe().runs()[0], folder="/f", **paths)


@pytest.mark.parametrize("kind", ["resume_from", "init_from"])
def test_what_a_run_starts_from_is_fetched_first(kind: str, machines: Machines) -> None:
    machines.one.publish(machines.seal())
    shipped = Shipped(machines.two)
    wanted = member(machines.two, {kind: NAME})
    assert shipped.reporter.fetched([wanted]) == [wanted]
    assert (machines.two.local / NAME / MANIFEST).is_file()
    assert shipped.lines == []


@pytest.mark.parametrize(
    ("kind", "told"), [("resume_from", DamagedCheckpoint.code), ("init_from", StartError.code)]
)
def test_a_start_that_is_nowhere_ends_the_run_at_once(
    kind: str, told: str, machines: Machines
) -> None:
    shipped = Shipped(machines.two)
    assert shipped.reporter.fetched([member(machines.two, {kind: NAME})]) == []
    [ended] = shipped.lines
    assert (ended.outcome, ended.kind) == (Outcome.FAILED, told)
    assert shipped.pauses == []


def test_a_place_that_is_away_at_the_start_is_tried_again(machines: Machines) -> None:
    machines.one.publish(machines.seal())
    broken, _ = failing(machines.two, 1, OSError(errno.EIO, "away"))
    shipped = Shipped(broken)
    wanted = member(machines.two, {"resume_from": NAME})
    assert shipped.reporter.fetched([wanted]) == [wanted]
    assert shipped.pauses == list(PAUSES[:1])


def test_old_checkpoints_leave_both_places_without_holding_anyone_up(machines: Machines) -> None:
    folder = machines.seal()
    machines.one.publish(folder)
    remover = Remover(machines.one)
    remover.remove(["../no/name", NAME])
    remover.close(20)
    assert not folder.exists()
    assert not machines.two.exists(NAME)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_remover_goes_on_after_any_error(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ArtifactStore("", machines.one.local)
    folder, remover, asked = machines.seal(), Remover(alone), list[str]()

    def refuse(name: str) -> None:
        asked.append(name)
        raise OSError("away") if len(asked) == 1 else SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(alone, "remove", refuse)
        remover.remove(["one", "two"])
        assert remover._thread is not None
        remover._thread.join(20)
    assert asked == ["one", "two"]
    remover.remove([NAME])
    remover.close(20)
    assert not folder.exists()


@pytest.mark.parametrize("is_shared", [True, False])
def test_an_adapter_of_another_machine_is_no_reason_to_fail(
    is_shared: bool, store: Store, tmp_path: Path
) -> None:
    submit(store)
    source = start(store, worker(store))
    succeed(store, source)
    wanted = recipe()
    config = wanted.runs()[0].model_copy(update={"init_from": source.id})
    with store.write() as session:
        run_id = studies.create_study(session, wanted, [config]).run_ids[0]
    found = claim_group(store, worker(store, "w2"), 4, tmp_path / "artifacts", is_shared)
    assert [run.id for run in found] == ([run_id] if is_shared else [])
    assert row(store, run_id).state == ("starting" if is_shared else "failed")
