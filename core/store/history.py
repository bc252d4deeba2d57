"""How fast finished runs were, for estimates."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.states import RunState
from core.store.models import Run


def step_times(session: Session, limit: int = 300) -> list[dict[str, Any]]:
    """Return task, backbone, method, lengths and wall seconds an update of the newest runs.

    ``seconds`` is divided by the number of runs that trained together, so that times of runs add
    up to the time of a worker. ``method`` holds the settings as the run has them.
    """
    rows = session.execute(
        select(Run.task, Run.backbone, Run.method_kind, Run.config, Run.result, Run.group_size)
        .where(Run.state == RunState.SUCCEEDED.value)
        .order_by(Run.ended_at.desc())
        .limit(limit)
    )
    found: list[dict[str, Any]] = []
    for task, backbone, method_kind, config, result, group_size in rows:
        numbers = result or {}
        updates, seconds = numbers.get("updates"), numbers.get("seconds")
        if not updates or not seconds:
            continue
        settings = json.loads(config)
        training = settings["training"]
        found.append(
            {
                "task": task,
                "backbone": backbone,
                "method_kind": method_kind,
                "method": settings["method"],
                "max_tokens": training["max_tokens"],
                "batch_size": training["batch_size"],
                "seconds": seconds / updates / max(1, numbers.get("group") or group_size),
            }
        )
    return found
