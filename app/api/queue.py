"""Queue and workers: who works, what waits, in which order, and why."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api._parts import SettingsOf, StoreOf, as_json
from core.store.queue_rows import queue_view

router = APIRouter(tags=["queue"])

BEATS_TO_WARN = 3


@router.get("/queue")
def queue(store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Everything of the page; runs are cancelled, put to the front or placed by other routes."""
    with store.read() as session:
        content: dict[str, Any] = as_json(queue_view(session))
    content["silent_after"] = BEATS_TO_WARN * settings.beat_seconds
    content["lost_after"] = settings.lease_seconds
    return content
