"""Which runs use a data set that was added."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.closed_studies import CountedOnce
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
    uses = itertools.chain.from_iterable(_USES.read(session).values())
    return sum(use.runs for use in uses if (name, version) in use.read)


def runs_by_data(session: Session) -> dict[tuple[str, str], int]:
    """Count the runs that are trained on each data set, whatever their state.

    The control of a joint training reads its partners for their sizes alone; it counts for its own
    task only.

    Returns:
        Runs by (task name, version): the version of an added data set, "" for any other task.
    """
    found: Counter[tuple[str, str]] = Counter()
    for use in itertools.chain.from_iterable(_USES.read(session).values()):
        for key in use.trained_on:
            found[key] += use.runs
    return dict(found)


@dataclass(frozen=True)
class _Use:
    """Runs of one study that read the same data.

    Attributes:
        trained_on: Names and versions of the data sets that they are trained on.
        read: Those that they read in any way.
        runs: Their number.
    """

    trained_on: frozenset[tuple[str, str]]
    read: frozenset[tuple[str, str]]
    runs: int


def _count_uses(session: Session, study_ids: Sequence[str]) -> dict[str, tuple[_Use, ...]]:
    # A recipe names each task once: within a study, task and regime say which data is read.
    kinds = (
        select(
            Run.study_id,
            Run.task,
            Run.regime,
            func.min(Run.ordinal).label("first"),
            func.count().label("runs"),
        )
        .where(Run.study_id.in_(study_ids))
        .group_by(Run.study_id, Run.task, Run.regime)
        .subquery()
    )
    # Looked up one by one: a join may be done by reading all runs, configs and all.
    same = (Run.study_id == kinds.c.study_id, Run.ordinal == kinds.c.first)
    config_of = select(Run.config).where(*same).scalar_subquery().label("config")
    found: dict[str, tuple[_Use, ...]] = {}
    for row in session.execute(select(kinds.c.study_id, config_of, kinds.c.runs)):
        config = json.loads(row.config)
        trained_on, read = (
            frozenset(_datasets(config, trained_only=only)) for only in (True, False)
        )
        found[row.study_id] = (*found.get(row.study_id, ()), _Use(trained_on, read, row.runs))
    return found


_USES: CountedOnce[tuple[_Use, ...]] = CountedOnce(_count_uses, ())


def _datasets(config: dict[str, object], *, trained_only: bool = False) -> list[tuple[str, str]]:
    regime = config.get("regime")
    is_control = isinstance(regime, dict) and regime.get("role") == "single"
    partners = [] if trained_only and is_control else _listed(config.get("partners"))
    tasks = [config.get("task"), *partners]
    return [
        (str(task.get("name")), str(task.get("dataset") or ""))
        for task in tasks
        if isinstance(task, dict)
    ]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []
