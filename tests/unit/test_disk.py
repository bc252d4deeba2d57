"""When the disk counts as nearly full, and as too full for new work."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from core.disk import Room, require_room, room
from core.errors import ConfigError

Usage = namedtuple("Usage", "total used free")
GB = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [
        (50 * GB, 100 * GB, "ok"),
        (5 * GB, 100 * GB, "ok"),
        (5 * GB - 1, 100 * GB, "low"),
        (GB, 4 * GB, "ok"),
        (GB - 1, 4 * GB, "low"),
        (2 * GB, 100 * GB, "low"),
        (2 * GB - 1, 100 * GB, "full"),
        (200_000_000, 2 * GB, "low"),
        (199_999_999, 2 * GB, "full"),
        (0, 0, "full"),
    ],
)
def test_share_and_bytes_both_count(free: int, total: int, level: str) -> None:
    assert Room("/somewhere", free, total).level == level


def test_a_folder_that_is_not_there_yet_is_measured_by_the_one_above(tmp_path: Path) -> None:
    found = room(tmp_path / "not" / "yet")
    assert found is not None
    assert found.total == shutil.disk_usage(tmp_path).total


def test_a_full_disk_is_refused_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * GB, 99 * GB, GB))
    with pytest.raises(ConfigError, match=r"has 1 GB free, 1\.0% of it; nothing is queued"):
        require_room(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * GB, 90 * GB, 10 * GB))
    require_room(tmp_path)


def test_a_disk_that_tells_nothing_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> Usage:
        raise OSError("stale handle")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert room(tmp_path) is None
    require_room(tmp_path)
