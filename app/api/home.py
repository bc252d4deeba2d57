"""Data of Home and of the chip in the bar."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api._parts import StoreOf, as_json
from core.store import queries

router = APIRouter(tags=["home"])


@router.get("/home")
def home(store: StoreOf) -> dict[str, Any]:
    """Everything that Home shows."""
    with store.read() as session:
        content: dict[str, Any] = as_json(queries.home(session))
    return content


@router.get("/status")
def status(store: StoreOf) -> dict[str, Any]:
    """Runs per state and living workers, for the chip in the bar."""
    with store.read() as session:
        view = queries.home(session)
    training = [w for w in view.workers if w.role == "train" and w.state == "alive"]
    return {"states": as_json(view.states), "trainers": len(training)}
