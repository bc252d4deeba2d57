"""Data of Home and of the chip in the bar."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api._parts import SettingsOf, StoreOf, as_json
from app.outcome_words import KINDS
from core.disk import room
from core.metrics import TITLES
from core.store import queries
from core.store.query_rows import state_counts
from core.store.workers import list_workers

router = APIRouter(tags=["home"])


@router.get("/home")
def home(store: StoreOf) -> dict[str, Any]:
    """Everything that Home shows."""
    with store.read() as session:
        content: dict[str, Any] = as_json(queries.home(session))
    content["titles"] = TITLES
    content["kinds"] = {kind: ended.title for kind, ended in KINDS.items()}
    return content


@router.get("/status")
def status(store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Runs per state, living workers, and the room on the disk, for the top of every page."""
    with store.read() as session:
        states = state_counts(session, queries.ALL_RUNS)
        alive = list_workers(session, alive_only=True)
    disk = room(settings.home_path)
    return {
        "states": states,
        "trainers": sum(worker.role == "train" for worker in alive),
        "disk": disk and {"level": disk.level, "free": disk.free, "share": disk.share},
    }
