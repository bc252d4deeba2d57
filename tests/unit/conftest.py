"""What several unit tests work with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import queue
from core.settings import Settings
from tests.desk import Desk
from tests.small_studies import new_store


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    rings: list[str] = []
    monkeypatch.setattr(queue, "ring_execute", lambda run_id, queue="default": rings.append(run_id))
    settings = Settings(home=tmp_path, offline=True)
    store = new_store(settings)
    yield Desk(store, settings, rings)
    store.close()
