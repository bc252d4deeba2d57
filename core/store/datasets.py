"""Which runs use a data set that was added."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.models import Run
from core.store.moves import serialise
from core.store.studies import STUDY_LOCK

if TYPE_CHECKING:
    from core.store.session import Store


@contextmanager
def hold_runs(store: Store, name: str, version: str) -> Iterator[int]:
    """Count the runs that read a version of a data set; none is queued while this is open.

    Args:
        store: Database.
        name: Name of the data set.
        version: Its version, 16 hexadecimal digits.

    Raises:
        StoreError: If the database refuses.
    """
    with store.write() as session:
        serialise(session, STUDY_LOCK)
        yield runs_using_dataset(session, name, version)


def runs_using_dataset(session: Session, name: str, version: str) -> int:
    """Count the runs, joint ones and their controls included, that read a version of a data set.

    Args:
        session: Open session.
        name: Name of the data set.
        version: Its version, 16 hexadecimal digits.
    """
    wanted = (name, version)
    found = session.scalars(
        select(Run.config).where(Run.config.contains(f'"dataset":"{version}"', autoescape=True))
    )
    return sum(wanted in _datasets(json.loads(config)) for config in found)


def runs_by_data(session: Session) -> dict[tuple[str, str], int]:
    """Count the runs that are trained on each data set, whatever their state.

    The control of a joint training reads its partners for their sizes alone; it counts for its own
    task only.

    Returns:
        Runs by (task name, version): the version of an added data set, "" for any other task.
    """
    found: Counter[tuple[str, str]] = Counter()
    # Runs of one hash differ in their seeds alone, so one config stands for all of them.
    query = select(func.min(Run.config), func.count()).group_by(Run.config_hash)
    for config, runs in session.execute(query):
        for name, version in set(_datasets(json.loads(config), trained_only=True)):
            found[str(name), str(version or "")] += runs
    return dict(found)


def _datasets(
    config: dict[str, object], *, trained_only: bool = False
) -> list[tuple[object, object]]:
    regime = config.get("regime")
    is_control = isinstance(regime, dict) and regime.get("role") == "single"
    partners = [] if trained_only and is_control else _listed(config.get("partners"))
    tasks = [config.get("task"), *partners]
    return [(task.get("name"), task.get("dataset")) for task in tasks if isinstance(task, dict)]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
