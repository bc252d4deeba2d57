"""A disk that refuses, anywhere: the run ends with a reason, and what it had stays good."""

from __future__ import annotations

import copy
import errno
import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import DiskFull, TrainingError
from core.recipe import RunConfig
from core.states import Outcome
from core.training import disk, loop
from core.training.checkpoint import RunProgress, load_checkpoint
from core.training.group import Member, WarmBackbones, prepare, train_group
from core.training.results import finished
from core.training.run import TrainingRun
from core.training.shelf import Shelf
from tests.failing_disk import failing_disk
from tests.training_tools import Recorder, digest, run_config, succeeded, train

PAGE = 4096
Make = Callable[..., RunConfig]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def trained(
    task: Path, tiny: dict[str, str], warm: WarmBackbones, tmp_path_factory: Any
) -> TrainingRun:
    """A run that stands where its first evaluation was, as from a checkpoint."""
    config = run_config("adap_ins_pos", task=task, backbone=tiny)
    recorder = train([config], tmp_path_factory.mktemp("trained"), warm)
    first = recorder.checkpoints["r0"][0]
    folder = tmp_path_factory.mktemp("again")
    return prepare(Member("r0", config, folder, first.folder), warm.for_run(config), ())


def later(run: TrainingRun, steps: int) -> RunProgress:
    """Place some steps after that of a run."""
    return replace(copy.deepcopy(run.progress), step=run.progress.step + steps)


def error_of(act: Callable[[], object]) -> TrainingError | None:
    try:
        act()
    except TrainingError as error:
        return error
    return None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_whichever_call_is_refused_the_old_checkpoint_stays(
    number: int, trained: TrainingRun, tmp_path: Path
) -> None:
    kind = TrainingError if number == errno.EIO else DiskFull
    refused = 0
    for n in range(1, 1000):
        folder = tmp_path / str(n)
        shelf = Shelf(folder, trained.card, trained.environment)
        old = shelf.put(trained.model, trained.updater.optimizer, trained.progress).folder
        assert shelf.best is not None
        new = later(trained, 1)
        put = partial(shelf.put, trained.model, trained.updater.optimizer, new)
        with failing_disk(n, number) as calls:
            error = error_of(put)
        if error is not None:
            refused += 1
            assert type(error) is kind
            assert ("MB are free" if kind is DiskFull else os.strerror(number)) in str(error)
            assert names(old.parent) == [old.name]
            assert not shelf.holds(new)
        assert load_checkpoint(old).progress == trained.progress
        if calls.calls < n:
            break
        again = shelf.put(trained.model, trained.updater.optimizer, later(trained, 2))
        assert load_checkpoint(again.folder).best is not None
    assert refused == n - 1
    assert refused > 25


def test_whichever_call_is_refused_no_half_result_is_left(
    configure: Make, warm: WarmBackbones, tmp_path: Path
) -> None:
    given: list[Any] = []

    def keep(*arguments: Any) -> Any:
        given.extend(arguments)
        return finished(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "finished", keep)
        train([configure("adap_ins_pos", audit=True)], tmp_path / "trained", warm)
    run: TrainingRun = given[0]
    for n in range(1, 1000):
        folder = tmp_path / str(n)
        run.member = replace(run.member, folder=folder)
        with failing_disk(n, errno.ENOSPC) as calls:
            try:
                finished(*given)
            except DiskFull:
                assert not folder.exists() or names(folder) == []
            else:
                break
    assert calls.calls < n
    assert n > 25
    assert names(folder) == ["adapter", "audit.parquet", "environment.json", "predictions.parquet"]


def test_room_is_asked_for_before_the_first_byte(
    trained: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, trained.card, trained.environment)
    first = shelf.put(trained.model, trained.updater.optimizer, trained.progress)
    need = 3 * first.num_bytes + 50_000_000
    free = [need]
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(0, 0, free[0]))
    shelf.put(trained.model, trained.updater.optimizer, later(trained, 1))
    free[0] = 3 * shelf.last_bytes + 50_000_000 - 1
    with pytest.raises(DiskFull, match=r"51 MB of free space are needed, 50 MB are free\. Free"):
        shelf.put(trained.model, trained.updater.optimizer, later(trained, 2))
    assert len(names(first.folder.parent)) == 2
    free[0] = 12_345_678
    with pytest.raises(DiskFull, match="50 MB of free space are needed, 12 MB are free"):
        Shelf(tmp_path / "x", trained.card, {}).put(
            trained.model, trained.updater.optimizer, trained.progress
        )
    assert not (tmp_path / "x").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for room before writing."""
    monkeypatch.setattr(disk, "need_of", lambda num_bytes: 0)


@pytest.mark.usefixtures("careless")
def test_a_run_that_fills_its_disk_continues_elsewhere_to_the_same_weights(
    configure: Make, warm: WarmBackbones, small_disk: Path, tmp_path: Path
) -> None:
    config = configure("fine_tuning", max_updates=14, evaluations=14)
    whole = train([config], tmp_path / "whole", warm)
    recorder = train([config], small_disk, warm)
    ending = recorder.endings["r0"]
    assert (ending.outcome, ending.kind) == (Outcome.FAILED, "disk_full")
    assert "No space left for" in ending.detail
    assert " MB are free" in ending.detail
    assert "Free some disk space, then retry the run" in ending.detail
    told = recorder.checkpoints["r0"]
    assert 2 <= len(told) < 14
    assert names(small_disk / "r0") == ["checkpoints"]
    assert names(told[0].folder.parent) == [found.folder.name for found in told]
    for found in told:
        assert load_checkpoint(found.folder).progress.step == found.step
    resumed = Recorder()
    train_group([Member("r0", config, tmp_path / "b", told[-1].folder)], resumed, warm)
    assert min(resumed.losses["r0"]) == told[-1].step + 1
    assert digest_of_end(resumed) == digest_of_end(whole)


def digest_of_end(recorder: Recorder) -> dict[str, Any]:
    return {name: found for name, found in digest(recorder, "r0").items() if name != "scalars"}


@pytest.mark.usefixtures("careless")
def test_a_checkpoint_fits_on_a_real_disk_or_leaves_no_trace(
    trained: TrainingRun, small_disk: Path
) -> None:
    shelf = Shelf(small_disk, trained.card, trained.environment)
    old = shelf.put(trained.model, trained.updater.optimizer, trained.progress).folder
    refused, filler = 0, small_disk / "filler"
    for pages in range(200):
        filler.write_bytes(b"")
        room = shutil.disk_usage(small_disk).free - pages * PAGE
        filler.write_bytes(bytes(room))
        try:
            new = shelf.put(trained.model, trained.updater.optimizer, later(trained, 1)).folder
        except DiskFull:
            refused += 1
            assert names(old.parent) == [old.name]
            assert load_checkpoint(old).progress == trained.progress
        else:
            break
    assert refused > 5
    assert load_checkpoint(new).progress.step == trained.progress.step + 1


def test_a_disk_without_room_ends_the_run_before_its_next_checkpoint(
    configure: Make, warm: WarmBackbones, small_disk: Path, tmp_path: Path
) -> None:
    config = configure("prompt_tuning")
    first = train([config], tmp_path / "first", warm).checkpoints["r0"][0]
    kept = shutil.copytree(first.folder, small_disk / "kept")
    recorder = Recorder()
    train_group([Member("r0", config, small_disk / "r0", kept)], recorder, warm)
    ending = recorder.endings["r0"]
    assert (ending.outcome, ending.kind) == (Outcome.FAILED, "disk_full")
    assert "51 MB of free space are needed, 4 MB are free" in ending.detail or (
        "3 MB are free" in ending.detail
    )
    assert names(small_disk) == ["kept"]
    again = Recorder()
    train_group([Member("r0", config, tmp_path / "again", kept)], again, warm)
    succeeded(again)
