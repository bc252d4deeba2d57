"""Uploads: receive a file, tell what it holds, look at what would become of it, add it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from app import data_actions
from app.api._parts import SettingsOf, as_json
from app.data_actions import Choices, UploadView

router = APIRouter(prefix="/data/uploads", tags=["data"])


@router.post("", status_code=201)
async def receive(
    request: Request, settings: SettingsOf, name: Annotated[str, Query(max_length=1000)] = ""
) -> dict[str, str]:
    """Receive a file: its bytes are the body, its name is only shown."""
    with data_actions.receive(settings, name) as (upload_id, incoming):
        async for piece in request.stream():
            incoming.write(piece)
    return {"id": upload_id}


@router.get("/{upload_id}")
def look(settings: SettingsOf, upload_id: str) -> dict[str, Any]:
    """What the file holds, and what is chosen so far."""
    return _body(data_actions.look(settings, upload_id))


@router.put("/{upload_id}")
def read_again(settings: SettingsOf, upload_id: str, choices: Choices) -> dict[str, Any]:
    """Read the file in another way; the choices are kept."""
    return _body(data_actions.look(settings, upload_id, choices))


@router.post("/{upload_id}/preview")
def preview(settings: SettingsOf, upload_id: str, choices: Choices) -> dict[str, Any]:
    """What would become of the file: counts, labels and lengths, or its problems by line."""
    content: dict[str, Any] = as_json(data_actions.preview(settings, upload_id, choices))
    return content


@router.post("/{upload_id}/add", status_code=201)
def add(settings: SettingsOf, upload_id: str, choices: Choices) -> dict[str, Any]:
    """Keep the file as a version of a data set."""
    added = data_actions.add(settings, upload_id, choices)
    card = added.dataset.card
    return {"name": card.name, "version": card.version, "is_new": added.is_new}


@router.delete("")
def discard_all(settings: SettingsOf) -> dict[str, int]:
    """Throw all uploads away."""
    return {"discarded": data_actions.discard_all(settings)}


@router.delete("/{upload_id}")
def discard(settings: SettingsOf, upload_id: str) -> dict[str, str]:
    """Throw an upload away."""
    data_actions.discard(settings, upload_id)
    return {"id": upload_id}


def _body(view: UploadView) -> dict[str, Any]:
    return {
        "id": view.upload.id,
        "file_name": view.upload.file_name,
        "size": view.upload.size,
        "inspection": as_json(view.inspection),
        "choices": view.choices.model_dump(mode="json"),
        "encodings": list(view.encodings),
    }
