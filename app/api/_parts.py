"""What the routers share: the store of the application, and rows as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any

from fastapi import Depends, Request

from core.settings import Settings
from core.store.session import Store


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


StoreOf = Annotated[Store, Depends(_store)]
SettingsOf = Annotated[Settings, Depends(_settings)]
PLAIN = frozenset((str, int, bool, type(None)))


@lru_cache(maxsize=64)
def _names(kind: type) -> tuple[str, ...]:
    """Fields and properties of a row class, in order."""
    own = [item.name for item in fields(kind)]
    derived = [
        name
        for base in reversed(kind.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, property)
    ]
    return (*own, *derived)


def as_json(value: Any) -> Any:
    """Turn rows of ``core.store.views`` into JSON values, their properties included."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: as_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value
