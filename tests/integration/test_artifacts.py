"""Artifacts by name: published whole, fetched whole, told only then."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from core.artifacts import MANIFEST, ArtifactError, ArtifactGone, ArtifactStore
from core.errors import ConfigError, DiskFull
from core.training.sealed import SealedFolder
from tests.artifact_places import NAME, Machines, content, failing


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
