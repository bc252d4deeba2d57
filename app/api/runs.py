"""Lists of runs, and what can be done to one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app import actions
from app.api._parts import SettingsOf, StoreOf, as_json
from core.metrics import TITLES
from core.states import RunState
from core.store import queries
from core.store.views import RunFilters

router = APIRouter(prefix="/runs", tags=["runs"])

Words = Annotated[str, Query(max_length=2000)]
Identifier = Annotated[str, Query(max_length=64)]
MOST_GROUPS = 200


def filters(
    study: Words = "",
    task: Words = "",
    method: Words = "",
    state: Words = "",
    q: Annotated[str, Query(max_length=200)] = "",
    role: Annotated[str, Query(pattern="^(final|trial)?$")] = "",
) -> RunFilters:
    """Read the filters of a list from the address; several values stand with commas between."""
    states = [part for part in state.split(",") if part in {item.value for item in RunState}]
    return RunFilters(
        states=tuple(states),
        tasks=tuple(part for part in task.split(",") if part),
        methods=tuple(part for part in method.split(",") if part),
        study_ids=tuple(part for part in study.split(",") if part),
        text=q,
        role=role,
    )


@router.get("")
def list_runs(
    store: StoreOf,
    study: Words = "",
    task: Words = "",
    method: Words = "",
    state: Words = "",
    q: Annotated[str, Query(max_length=200)] = "",
    role: Annotated[str, Query(pattern="^(final|trial)?$")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_GROUPS)] = 60,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Runs folded by study and config, newest study first, with the studies they belong to."""
    wanted = filters(study, task, method, state, q, role)
    with store.read() as session:
        page = queries.config_groups(session, wanted, limit, offset)
        names = queries.study_names(session, limit=200)
        rows = queries.studies_of(session, {group.study_id for group in page.groups})
    names.update({row.id: (row.slug, row.name) for row in rows})
    content: dict[str, Any] = as_json(page)
    content["studies"] = {row.id: as_json(row) for row in rows}
    content["all_studies"] = [
        {"id": key, "slug": slug, "name": name} for key, (slug, name) in names.items()
    ]
    content["titles"] = TITLES
    return content


@router.post("/{run_id}/cancel")
def cancel(run_id: str, store: StoreOf) -> dict[str, str]:
    """Cancel a queued run, or ask its worker to stop it."""
    return {"id": run_id, "state": actions.cancel_run(store, run_id).value}


@router.post("/{run_id}/retry")
def retry(run_id: str, store: StoreOf) -> dict[str, str]:
    """Queue a failed or cancelled run again."""
    return {"id": run_id, "state": actions.retry_run(store, run_id).value}


@router.post("/{run_id}/to-front")
def to_front(run_id: str, store: StoreOf) -> dict[str, Any]:
    """Let a queued run be claimed before all others; nothing happens when it is not queued."""
    return {"id": run_id, "moved": actions.to_front(store, run_id)}


@router.get("/{run_id}/recipe")
def recipe(run_id: str, store: StoreOf, settings: SettingsOf) -> dict[str, str]:
    """The run's settings as a recipe, to be changed and queued again."""
    return {"yaml": actions.clone_recipe(store, run_id, settings).to_yaml()}
