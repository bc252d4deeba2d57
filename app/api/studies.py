"""Studies: submitting, reading, cancelling, opening the test."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app import actions
from app.api._parts import SettingsOf, StoreOf, as_json
from core.recipe import Recipe
from core.recipe_files import parse_recipe, parse_recipe_text
from core.store import queries
from core.store.models import DEFAULT_QUEUE

router = APIRouter(tags=["studies"])


class Submission(BaseModel):
    """A recipe as a mapping or as YAML text, and a name for the submission."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any] | str = Field(description="Recipe as a mapping, or as YAML text.")
    idempotency_key: str = Field(
        default="", max_length=128, description="The same key again makes no second study."
    )
    queue: str = Field(
        default=DEFAULT_QUEUE, max_length=80, description="Queue that its runs wait in."
    )

    def parsed(self) -> Recipe:
        """Check the recipe; raises RecipeErrors with every problem."""
        if isinstance(self.recipe, str):
            return parse_recipe_text(self.recipe)
        return parse_recipe(self.recipe)


@router.post("/studies", status_code=201)
def submit(body: Submission, store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Queue a study; 422 with every problem and its field, and then nothing is queued."""
    study = actions.submit_recipe(
        store,
        body.parsed(),
        idempotency_key=body.idempotency_key,
        queue=body.queue,
        settings=settings,
    )
    content: dict[str, Any] = as_json(study)
    content["note"] = actions.unserved_note(store, body.queue)
    return content


@router.get("/studies")
def list_studies(
    store: StoreOf,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> list[dict[str, Any]]:
    """Studies, newest first."""
    with store.read() as session:
        return [as_json(row) for row in queries.studies(session, limit, offset)]


@router.get("/studies/{study_id}")
def read(study_id: str, store: StoreOf) -> dict[str, Any]:
    """One study with its runs and events."""
    with store.read() as session:
        content: dict[str, Any] = as_json(queries.study_overview(session, study_id))
    return content


@router.post("/studies/{study_id}/cancel")
def cancel(study_id: str, store: StoreOf) -> dict[str, Any]:
    """Cancel all runs that have not ended."""
    return {"id": study_id, "cancelled": actions.cancel_study(store, study_id)}


@router.post("/studies/{study_id}/retry")
def retry(study_id: str, store: StoreOf) -> dict[str, Any]:
    """Queue all failed runs again."""
    return {"id": study_id, "queued": actions.retry_study(store, study_id)}


class Placing(BaseModel):
    """Where the waiting runs of a study shall stand."""

    model_config = ConfigDict(extra="forbid")

    place: actions.Place


@router.post("/studies/{study_id}/place")
def place(study_id: str, store: StoreOf, body: Placing) -> dict[str, Any]:
    """Let the waiting runs of a study go first, in their turn, or later."""
    return {"id": study_id, "priority": actions.place_study(store, study_id, body.place)}


@router.post("/studies/{study_id}/open-test")
def open_test(study_id: str, store: StoreOf) -> dict[str, Any]:
    """Show the test numbers before the study closed; the opening is recorded."""
    return {"id": study_id, "openings": actions.open_test(store, study_id)}
