"""Files and folders appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import durable
from core.durable import whole_file, whole_folder


def test_a_folder_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with whole_folder(target) as part:
        (part / "one").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["one"]
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_was_left_half_filled_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "folder") as part:
            (part / "one").write_text("1")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_put_over_another(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")

    def fill() -> None:
        with whole_folder(tmp_path / "folder") as part:
            (part / "new").write_text("new")

    with pytest.raises(OSError, match="folder"):
        fill()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    target = tmp_path / "note"
    for content in ("first", "second"):
        with whole_file(target) as part:
            part.write_text(content)
        assert target.read_text() == content

    def fill() -> None:
        with whole_file(target) as part:
            part.write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fill()
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_all_that_is_in_a_folder_is_durable_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "new" / "folder", list[str]()

    def sync(path: Path) -> None:
        synced.append(path.name)
        assert target.exists() == (path in target.parents)

    monkeypatch.setattr(durable, "sync", sync)
    with whole_folder(target) as part:
        (part / "in" / "inner").mkdir(parents=True)
        (part / "in" / "inner" / "file").write_text("1")
    assert synced == ["file", "inner", "in", part.name, "new", tmp_path.name]


def test_a_folder_tells_how_far_it_is(tmp_path: Path) -> None:
    target, seen = tmp_path / "folder", []

    def passing(place: str) -> None:
        seen.append((place, target.exists()))

    with whole_folder(target, passing) as part:
        (part / "one").write_text("1")
    assert seen == [("written", False), ("synced", False), ("renamed", True)]


def test_a_folder_that_cannot_be_kept_is_taken_back(tmp_path: Path) -> None:
    def passing(place: str) -> None:
        if place == "renamed":
            raise OSError("no space left")

    def fill() -> None:
        with whole_folder(tmp_path / "folder", passing) as part:
            (part / "one").write_text("1")

    with pytest.raises(OSError, match="no space left"):
        fill()
    assert list(tmp_path.iterdir()) == []
