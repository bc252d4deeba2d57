"""Filters and text search over runs, answered from indexes however many runs there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import String, and_, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import ColumnElement

from core.states import RunState
from core.store.closed_studies import all_counts
from core.store.models import Run, Study
from core.store.views import RunFilters

SLUG = re.compile(r"[sS]?([0-9]{1,9})(-[0-9]{0,9})?")
ID_START = re.compile(r"[0-9a-f]{6,32}")
MOST_IDS = 20
WORDS: tuple[InstrumentedAttribute[str], ...] = (
    Run.task,
    Run.method_label,
    Run.backbone,
    Run.regime,
)


def conditions(session: Session, filters: RunFilters) -> list[ColumnElement[bool]]:
    """Conditions on runs that together are the filters; they need no other table beside."""
    wanted: list[ColumnElement[bool]] = []
    if filters.states:
        wanted.append(scanned(Run.state).in_(filters.states))
    if filters.tasks:
        wanted.append(scanned(Run.task).in_(filters.tasks))
    if filters.methods:
        of_label = scanned(Run.method_label).in_(filters.methods)
        wanted.append(or_(of_label, scanned(Run.method_kind).in_(filters.methods)))
    if filters.study_ids:
        wanted.append(Run.study_id.in_(filters.study_ids))
    if filters.config_hash:
        wanted.append(scanned(Run.config_hash) == filters.config_hash)
    if filters.role:
        wanted.append(scanned(Run.role) == filters.role)
    if not filters.demo:
        wanted.append(Run.study_id.not_in(select(Study.id).where(Study.is_demo)))
    if text := filters.text.strip():
        wanted.append(_matches(session, text))
    return wanted


def scanned(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """Name a column so that its own index is not taken.

    To go through ``ix_runs_study_config`` from end to end is quicker than to find rows by the
    column and then to look each of them up in the table for its other columns.
    """
    return func.coalesce(column, "")


def _matches(session: Session, text: str) -> ColumnElement[bool]:
    """Look for a text among studies and among the few different words; then for their runs."""
    named: list[ColumnElement[bool]] = [Study.name.icontains(text, autoescape=True)]
    found: list[ColumnElement[bool]] = []
    if slug := SLUG.fullmatch(text):
        number, ordinal = slug.groups()
        if ordinal is None:
            named.append(cast(Study.number, String).startswith(number))
        else:
            of_study = select(Study.id).where(Study.number == int(number))
            place = cast(Run.ordinal, String).startswith(ordinal[1:])
            found.append(and_(Run.study_id.in_(of_study), place))
    found.append(Run.study_id.in_(select(Study.id).where(or_(*named))))
    for column in WORDS:
        if values := [word for word in different(session, column) if text.lower() in word.lower()]:
            found.append(scanned(column).in_(values))
    if ID_START.fullmatch(text):
        some = select(Run.study_id, Run.ordinal).where(Run.id >= text, Run.id < f"{text}g")
        for study_id, ordinal in session.execute(some.limit(MOST_IDS)):
            found.append(and_(Run.study_id == study_id, Run.ordinal == ordinal))
    return or_(*found)


def different(session: Session, column: InstrumentedAttribute[str]) -> list[str]:
    """Different values of an indexed column, ascending, without a look at every run."""
    value = select(func.min(column).label("value")).cte(recursive=True)
    above = select(func.min(column)).where(column > value.c.value).scalar_subquery()
    values = value.union_all(select(above).where(value.c.value.is_not(None)))
    query = select(values.c.value).where(values.c.value.is_not(None)).order_by(values.c.value)
    return list(session.scalars(query))


def facets(session: Session) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Task names and method labels of all runs."""
    return tuple(different(session, Run.task)), tuple(different(session, Run.method_label))


def counts_where(
    session: Session, where: Sequence[ColumnElement[bool]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Count the runs that meet ``conditions``.

    Returns:
        Runs per state, and by study the configs that they have, newest study first.
    """
    if not where:
        return all_counts(session)
    # Grouped in the order of ix_runs_study_config, which is read once for both answers.
    by_state = {state.value: func.count().filter(Run.state == state.value) for state in RunState}
    groups = (
        select(Run.study_id, *(count.label(name) for name, count in by_state.items()))
        .where(*where)
        .group_by(Run.study_id, Run.config_hash)
        .subquery()
    )
    by_study = (
        select(
            groups.c.study_id,
            func.count().label("groups"),
            *(func.sum(groups.c[name]).label(name) for name in by_state),
        )
        .group_by(groups.c.study_id)
        .subquery()
    )
    query = select(Study.number, by_study).join(by_study, by_study.c.study_id == Study.id)
    rows = sorted(session.execute(query).mappings(), key=lambda row: -row["number"])
    totals = {name: sum(int(row[name]) for row in rows) for name in by_state}
    return (
        {state: runs for state, runs in totals.items() if runs},
        {row["study_id"]: row["groups"] for row in rows},
    )


def states_where(session: Session, where: Sequence[ColumnElement[bool]]) -> dict[str, int]:
    """Number of runs per state that meet ``conditions``."""
    if not where:
        counted = select(Run.state, func.count()).group_by(Run.state)
    else:
        state = scanned(Run.state)
        counted = select(state, func.count()).where(*where).group_by(state)
    return dict(session.execute(counted).all())


def group_keys(
    session: Session,
    where: Sequence[ColumnElement[bool]],
    counted: Mapping[str, int],
    limit: int,
    offset: int,
) -> list[tuple[str, str]]:
    """Study and config of each group of a page, in order; only the page's studies are read.

    Args:
        where: Conditions on runs.
        counted: Groups of each study, newest study first.
        limit: Groups on the page.
        offset: Groups before it.
    """
    spanned: list[str] = []
    skipped = passed = 0
    for study_id, groups in counted.items():
        if passed >= offset + limit:
            break
        passed += groups
        if passed > offset:
            spanned.append(study_id)
        else:
            skipped = passed
    first = func.min(Run.ordinal)
    rows = session.execute(
        select(Run.study_id, Run.config_hash, first.label("first"))
        .where(Run.study_id.in_(spanned), *where)
        .group_by(Run.study_id, Run.config_hash)
    )
    places = {study_id: place for place, study_id in enumerate(spanned)}
    ordered = sorted(rows, key=lambda row: (places[row.study_id], row.first))
    start = offset - skipped
    return [(row.study_id, row.config_hash) for row in ordered[start : start + limit]]
