"""Artifacts by name: published whole, fetched whole, told only then."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest

from core import fault_points
from core.artifacts import MANIFEST, ArtifactError, ArtifactGone, ArtifactStore
from core.errors import ConfigError, DamagedCheckpoint, DiskFull, StartError
from core.reporting import Checkpoint, Ending
from core.states import Outcome, StopKind
from core.store import studies
from core.store.session import Store
from core.training.sealed import SealedFolder, write_sealed
from tests.store_tools import recipe, row, start, submit, succeed, worker
from worker.claiming import claim_group
from worker.pipe_reporter import PipeReporter
from worker.protocol import CheckpointMessage, EndedMessage, TrainMember, decode_up
from worker.shipping import PAUSES, Remover, ShippingReporter

NAME = "runs/r1/1-1/checkpoints/step-00000008"


@dataclass
class Machines:
    """Two machines that share a place."""

    url: str
    one: ArtifactStore
    two: ArtifactStore

    def seal(self, name: str = NAME, **files: bytes) -> Path:
        def fill(folder: Path) -> None:
            for file, content in (files or {"a.bin": b"a" * 5000, "b.json": b"{}"}).items():
                (folder / file).write_bytes(content)

        write_sealed(self.one.local / name, fill)
        return self.one.local / name


@pytest.fixture(params=["folder", "file", "memory"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Machines:
    url = {
        "folder": str(tmp_path / "shared"),
        "file": f"file://{tmp_path}/shared",
        "memory": f"memory://{uuid.uuid4().hex}",
    }[request.param]
    stores = [ArtifactStore(url, tmp_path / name) for name in ("one", "two")]
    return Machines(url, *stores)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_sealed_folder_is_the_same_on_another_machine(machines: Machines) -> None:
    folder = machines.seal()
    assert not machines.two.exists(NAME)
    assert machines.one.publish(folder) == NAME
    assert machines.one.publish(folder) == NAME
    assert machines.two.exists(NAME)
    fetched = machines.two.fetch(NAME)
    assert fetched == machines.two.local / NAME
    assert content(fetched) == content(folder)
    assert SealedFolder(fetched).read("b.json") == b"{}"
    machines.one.remove(NAME)
    assert not folder.exists()
    assert machines.two.fetch(NAME) == fetched
    shutil.rmtree(fetched)
    assert not machines.two.exists(NAME)
    with pytest.raises(ArtifactGone, match=NAME):
        machines.two.fetch(NAME)


def test_files_and_folders_without_a_seal_travel_too(machines: Machines) -> None:
    folder = machines.one.local / "runs/r1/1-1"
    folder.mkdir(parents=True)
    (folder / "table.parquet").write_bytes(b"PAR1")
    (folder / "loose").mkdir()
    (folder / "loose" / "x").write_bytes(b"x")
    for path in (folder / "table.parquet", folder / "loose"):
        name = machines.one.publish(path)
        machines.two.fetch(name)
    assert (machines.two.local / "runs/r1/1-1/table.parquet").read_bytes() == b"PAR1"
    assert (machines.two.local / "runs/r1/1-1/loose/x").read_bytes() == b"x"
    assert set(content(folder / "loose")) == {"x"}, "the machine's own folder stays as it is"
    machines.one.remove("runs/r1/1-1/table.parquet")
    assert not machines.one.exists("runs/r1/1-1/table.parquet")
    machines.one.remove("runs/r1/1-1/table.parquet")


@pytest.mark.parametrize("name", ["", ".", "..", "a/../../b", "/etc/passwd", "a\\b", "a\0b"])
def test_a_name_never_leads_out(name: str, machines: Machines, tmp_path: Path) -> None:
    for act in (machines.one.fetch, machines.one.exists, machines.one.remove):
        with pytest.raises(ArtifactError, match="no name"):
            act(name)
    with pytest.raises(ArtifactError, match="it is not in"):
        machines.one.publish(tmp_path / "elsewhere")


def test_a_manifest_cannot_lead_out_either(machines: Machines) -> None:
    machines.one.publish(machines.seal())
    entry = {"sha256": "0" * 64, "size": 1}
    overwrite(machines, MANIFEST, json.dumps({"files": {"../../x": entry}}).encode())
    with pytest.raises(ArtifactError, match="no name"):
        machines.two.fetch(NAME)
    assert list(machines.two.local.rglob("x")) == []


@pytest.mark.parametrize("url", ["", "{local}", "file://{local}"])
def test_without_another_place_nothing_is_copied(url: str, tmp_path: Path) -> None:
    store = ArtifactStore(url.format(local=tmp_path), tmp_path)
    assert not store.is_shared
    (tmp_path / "a").write_bytes(b"a")
    assert store.publish(tmp_path / "a") == "a"
    assert store.fetch("a") == tmp_path / "a"
    with pytest.raises(ArtifactGone):
        store.fetch("b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def overwrite(machines: Machines, file: str, data: bytes) -> None:
    files, root = fsspec.core.url_to_fs(machines.url)
    files.pipe_file(f"{root}/{NAME}/{file}", data)


@pytest.mark.parametrize(
    ("file", "data"),
    [("a.bin", b"a" * 4999), ("a.bin", b"b" * 5000), (MANIFEST, b"{"), (MANIFEST, b'{"files":[]}')],
)
def test_what_is_damaged_on_the_way_never_appears(
    file: str, data: bytes, machines: Machines
) -> None:
    machines.one.publish(machines.seal())
    overwrite(machines, file, data)
    with pytest.raises(ArtifactGone):
        machines.two.fetch(NAME)
    assert [path for path in machines.two.local.rglob("*") if path.is_file()] == []


class Failing:
    """Lets the place's file system refuse the n-th call that moves data."""

    def __init__(self, store: ArtifactStore, at: int, error: BaseException) -> None:
        self.calls = 0
        self.at, self.error = at, error
        place = store._place
        assert place is not None
        self._files = place.files
        self.files = self

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if name not in ("put_file", "get_file", "mv", "cat_file"):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            return real(*arguments, **options)

        return call


def failing(store: ArtifactStore, at: int, error: BaseException) -> tuple[ArtifactStore, Failing]:
    files = Failing(store, at, error)
    broken = ArtifactStore(store.url, store.local)
    place = broken._place
    assert place is not None
    object.__setattr__(place, "files", files)
    return broken, files


def files_fail(act: Callable[[], object]) -> bool:
    """Act; True when the place refused, and said so in a sentence."""
    try:
        act()
    except ArtifactError as error:
        problem: ArtifactError | None = error
    else:
        problem = None
    assert problem is None or type(problem) is ArtifactError
    assert problem is None or "the cable is out" in str(problem)
    return problem is not None


def every_failure(act: Callable[[ArtifactStore], object], store: ArtifactStore) -> Iterator[int]:
    """Do something with its first, second, … call failing, until it succeeds."""
    for at in range(1, 50):
        broken, files = failing(store, at, OSError(errno.EIO, "the cable is out"))
        if files_fail(lambda: act(broken)):  # noqa: B023
            yield at
        else:
            assert files.calls < at
            return
    raise AssertionError("it never succeeds")


def test_a_half_published_folder_is_never_taken_for_whole(machines: Machines) -> None:
    folder = machines.seal()
    failures = 0
    for _ in every_failure(lambda store: store.publish(folder), machines.one):
        failures += 1
        assert not machines.two.exists(NAME)
        with pytest.raises(ArtifactGone):
            machines.two.fetch(NAME)
    assert failures >= 4
    assert content(machines.two.fetch(NAME)) == content(folder)


def test_a_half_fetched_folder_never_appears(machines: Machines) -> None:
    folder = machines.seal()
    machines.one.publish(folder)
    target = machines.two.local / NAME
    failures = 0
    for _ in every_failure(lambda store: store.fetch(NAME), machines.two):
        failures += 1
        assert not target.exists()
        assert list(target.parent.iterdir()) == []
    assert failures >= 3
    assert content(target) == content(folder)


def test_many_may_fetch_at_once(machines: Machines) -> None:
    folder = machines.seal()
    machines.one.publish(folder)
    gate = threading.Barrier(6)
    problems: list[Exception] = []

    def fetch() -> None:
        gate.wait(10)
        try:
            machines.two.fetch(NAME)
        except ArtifactError as error:
            problems.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert problems == []
    assert content(machines.two.local / NAME) == content(folder)
    assert [p.name for p in (machines.two.local / NAME).parent.iterdir()] == [Path(NAME).name]


class LibraryError(Exception):
    """As libraries of places have them: not an OSError."""


def test_errors_are_sentences_and_our_own_mistakes_are_not_hidden(machines: Machines) -> None:
    folder = machines.seal()
    broken, _ = failing(machines.one, 1, LibraryError("no credentials"))
    with pytest.raises(ArtifactError, match="LibraryError: no credentials"):
        broken.publish(folder)
    full, _ = failing(machines.one, 2, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull, match="no room"):
        full.publish(folder)
    wrong, _ = failing(machines.one, 1, TypeError("a mistake"))
    with pytest.raises(TypeError):
        wrong.publish(folder)


def test_an_address_that_cannot_be_used_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no address"):
        ArtifactStore("nowhere://x", tmp_path)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"s3fs.*pip") as caught:
        ArtifactStore("s3://key:secret@bucket/studio", tmp_path)
    assert "secret" not in str(caught.value)
    assert caught.value.field == "artifacts_url"


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
