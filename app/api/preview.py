"""What a recipe would cost, without queueing it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app import preview
from app.api._parts import SettingsOf, StoreOf
from app.api.studies import Submission

router = APIRouter(tags=["preview"])


@router.post("/preview")
def preview_recipe(body: Submission, store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Runs, parameters, updates, time and warnings of a recipe; 422 with its problems."""
    return preview.preview(body.parsed(), store, settings).as_json()
