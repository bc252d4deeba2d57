"""Data of Home and of the chip in the bar."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api._parts import StoreOf, as_json
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
    return content


@router.get("/status")
def status(store: StoreOf) -> dict[str, Any]:
    """Runs per state and living workers, for the chip in the bar."""
    with store.read() as session:
        states = state_counts(session, queries.ALL_RUNS)
        alive = list_workers(session, alive_only=True)
    return {"states": states, "trainers": sum(worker.role == "train" for worker in alive)}
