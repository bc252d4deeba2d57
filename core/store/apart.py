"""Settings of compared runs that share a label: read where they clash, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.statistics.apart import Settings, clashing, tell_apart
from core.store.models import Run
from core.store.views import ComparisonRow

MOST_SETTINGS = 500


def told_apart(session: Session, rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Say of runs with one label and different settings what differs.

    Tuned settings are what trials found, another one for each column, and are not told. Beyond
    500 settings nothing is told either; the rows of the table are then numbered.
    """
    written = [row for row in rows if row.protocol != "tuned"]
    labels = clashing((row.method_label, _column(row), row.config_hash) for row in written)
    kept = {
        (row.method_label, _column(row), row.config_hash): row
        for row in written
        if row.method_label in labels
    }
    if not kept or len(kept) > MOST_SETTINGS:
        return list(rows)
    ids = [row.run_id for row in kept.values()]
    found = session.execute(select(Run.id, Run.config).where(Run.id.in_(ids)))
    configs = {row.id: row.config for row in found}
    told = tell_apart(
        Settings(label, column, digest, json.loads(configs[row.run_id]))
        for (label, column, digest), row in kept.items()
    )
    return [
        replace(row, apart=told.get((row.method_label, row.config_hash), ""))
        if row.protocol != "tuned"
        else row
        for row in rows
    ]


def _column(row: ComparisonRow) -> tuple[str, str, str]:
    return row.task, row.backbone, row.regime
