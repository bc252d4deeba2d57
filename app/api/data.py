"""Data sets: the list, one set, and what the studio will make of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app import data_actions, data_list, data_sets, data_views
from app.api._parts import SettingsOf, StoreOf, as_json
from app.data_views import Asked
from core.backbones.spec import BACKBONES
from core.recipe_parts import TaskChoice
from core.regimes import RegimeConfig

router = APIRouter(prefix="/data", tags=["data"])

Name = Annotated[str, Query(max_length=80)]
Version = Annotated[str, Query(max_length=16)]
Tokens = Annotated[int, Query(ge=8, le=8192)]
Seed = Annotated[int, Query(ge=0, lt=2**31 - 1)]


def _task(name: str, version: Version = "", template: Name = "") -> TaskChoice:
    return data_sets.choice_of(name, version, template)


TaskOf = Annotated[TaskChoice, Depends(_task)]


def _asked(task: TaskOf, backbone: Name = "minilm", max_tokens: Tokens = 128) -> Asked:
    return Asked(task, backbone, max_tokens)


def _regime(
    draw: Annotated[str, Query(pattern="^(all|per_label|in_all|fewglue)$")] = "all",
    k: Annotated[int, Query(ge=1, le=10_000)] = 16,
    dev: Annotated[str, Query(pattern="^(full|same_size)$")] = "full",
) -> RegimeConfig:
    if draw == "all":
        return data_views.regime_of({"kind": "full_data"})
    if draw == "fewglue":
        return data_views.regime_of({"kind": "few_shot", "draw": draw, "dev": dev})
    return data_views.regime_of({"kind": "few_shot", "k": k, "count": draw, "dev": dev})


AskedOf = Annotated[Asked, Depends(_asked)]
RegimeOf = Annotated[RegimeConfig, Depends(_regime)]


@router.get("")
def list_sets(store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """Every data set that runs can use or that is missing, added ones, and waiting uploads."""
    return {
        "known": as_json(data_list.known_sets(store, settings)),
        "own": as_json(data_list.own_sets(store, settings)),
        "uploads": [
            {"id": one.id, "file_name": one.file_name, "size": one.size, "at": one.changed_at}
            for one in data_actions.waiting(settings)
        ],
    }


@router.get("/sets/{name}")
def one_set(store: StoreOf, settings: SettingsOf, task: TaskOf) -> dict[str, Any]:
    """One set: splits, labels, templates, notes, and the backbones whose tokens can be shown."""
    content: dict[str, Any] = as_json(data_sets.detail(store, settings, task))
    content["backbones"] = [{"name": one.name, "title": one.title} for one in BACKBONES.values()]
    return content


@router.get("/sets/{name}/examples")
def examples(
    settings: SettingsOf,
    task: TaskOf,
    file: Name,
    at: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """A few examples of a file: its fields, and the rows that each template makes of them."""
    return {"examples": as_json(data_sets.examples(settings, task, file, at))}


@router.get("/sets/{name}/lengths")
def lengths(settings: SettingsOf, asked: AskedOf) -> dict[str, Any]:
    """Histogram of the tokens of train, with the share that is cut."""
    content: dict[str, Any] = as_json(data_views.lengths(settings, asked))
    return content


@router.get("/sets/{name}/draw")
def draw(settings: SettingsOf, asked: AskedOf, regime: RegimeOf, seed: Seed = 0) -> dict[str, Any]:
    """Training examples that a regime draws with a data seed."""
    content: dict[str, Any] = as_json(data_views.draw(settings, asked, regime, seed))
    return content


@router.get("/sets/{name}/batch")
def batch(
    settings: SettingsOf,
    asked: AskedOf,
    regime: RegimeOf,
    seed: Seed = 0,
    size: Annotated[int, Query(ge=1, le=data_views.MOST_BATCH)] = 8,
) -> dict[str, Any]:
    """The first drawn training examples as one padded batch of tokens."""
    content: dict[str, Any] = as_json(data_views.batch(settings, asked, regime, seed, size))
    return content


@router.delete("/sets/{name}/{version}")
def remove(store: StoreOf, settings: SettingsOf, name: str, version: str) -> dict[str, str]:
    """Delete a version of an added data set that no run uses."""
    data_actions.remove(store, settings, name, version)
    return {"name": name, "version": version}
