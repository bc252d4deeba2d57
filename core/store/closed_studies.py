"""Facts about studies that are counted once: a closed study changes only by opening again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import String, func, select, type_coerce
from sqlalchemy.orm import Session

from core.store.models import Run, Study

AT_ONCE = 1_000
"""Studies that one query asks for; databases limit how many values a query may carry."""

Fact = TypeVar("Fact")
Count = Callable[[Session, Sequence[str]], Mapping[str, Fact]]


class CountedOnce(Generic[Fact]):
    """Keeps what was counted of closed studies, in this process; open ones are counted anew.

    The time at which a study was closed is its version: runs of a closed study have all ended, and
    a run that is queued again opens its study in the same transaction.

    Args:
        count: Counts some studies; those without runs may be missing in its answer.
        empty: What holds for a study without runs.
    """

    def __init__(self, count: Count[Fact], empty: Fact) -> None:
        self._count, self._empty = count, empty
        self._kept: dict[str, dict[str, tuple[object, Fact]]] = {}

    def read(self, session: Session) -> dict[str, Fact]:
        """Return the fact of every study by its id, newest study first."""
        # The time as the database gives it is compared alone, so it need not become a datetime.
        version = type_coerce(Study.closed_at, String)
        rows = session.execute(select(Study.id, version).order_by(Study.number.desc()))
        closed: dict[str, object] = dict(rows.all())
        # A copy, so that another thread's answer is not changed under it.
        kept = dict(self._kept.get(place := str(session.get_bind().engine.url), {}))
        known = {key for key, (at, _) in kept.items() if closed.get(key) == at}
        wanted = [key for key in closed if key not in known]
        fresh: dict[str, Fact] = {}
        for start in range(0, len(wanted), AT_ONCE):
            fresh.update(self._count(session, wanted[start : start + AT_ONCE]))
        found = {
            key: kept[key][1] if key in known else fresh.get(key, self._empty) for key in closed
        }
        if any(closed[key] for key in wanted) or len(kept) > len(known):
            self._kept[place] = {key: (at, found[key]) for key, at in closed.items() if at}
        return found


@dataclass(frozen=True)
class RunCounts:
    """How many runs and groups of equal configs a study has.

    Attributes:
        groups: Configs that differ in more than their seeds, a count.
        states: Runs per state.
    """

    groups: int
    states: Mapping[str, int]


def _count_runs(session: Session, study_ids: Sequence[str]) -> dict[str, RunCounts]:
    states: dict[str, dict[str, int]] = {}
    configs: dict[str, set[str]] = {}
    for study_id, config_hash, state, runs in session.execute(
        select(Run.study_id, Run.config_hash, Run.state, func.count())
        .where(Run.study_id.in_(study_ids))
        .group_by(Run.study_id, Run.config_hash, Run.state)
    ):
        mine = states.setdefault(study_id, {})
        mine[state] = mine.get(state, 0) + runs
        configs.setdefault(study_id, set()).add(config_hash)
    return {key: RunCounts(len(configs[key]), found) for key, found in states.items()}


RUN_COUNTS = CountedOnce(_count_runs, RunCounts(0, {}))


def all_counts(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    """Number of all runs per state, and of groups by study, newest study first."""
    states: dict[str, int] = {}
    groups: dict[str, int] = {}
    for study_id, counts in RUN_COUNTS.read(session).items():
        groups[study_id] = counts.groups
        for state, runs in counts.states.items():
            states[state] = states.get(state, 0) + runs
    return states, groups
