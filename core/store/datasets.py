"""Which runs use a data set that was added."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.models import Run


def runs_using_dataset(session: Session, name: str, version: str) -> int:
    """Count the runs, joint ones included, that read a version of a data set.

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
    """Count the runs that read each data set, whatever their state.

    Returns:
        Runs by (task name, version): the version of an added data set, "" for any other task.
    """
    found: Counter[tuple[str, str]] = Counter()
    # Runs of one hash differ in their seeds alone, so one config stands for all of them.
    query = select(func.min(Run.config), func.count()).group_by(Run.config_hash)
    for config, runs in session.execute(query):
        for name, version in set(_datasets(json.loads(config))):
            found[str(name), str(version or "")] += runs
    return dict(found)


def _datasets(config: dict[str, object]) -> list[tuple[object, object]]:
    tasks = [config.get("task"), *_listed(config.get("partners"))]
    return [(task.get("name"), task.get("dataset")) for task in tasks if isinstance(task, dict)]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
