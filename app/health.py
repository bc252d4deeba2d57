"""``/readyz`` and ``/metrics``: may this studio be used now, and its numbers for monitoring."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.metrics import StudioCollector, metrics_text
from core.disk import room
from core.errors import StoreError
from core.local.broker import answers, find_server
from core.queue import SOCKET_SECONDS
from core.settings import Settings
from core.store import migrate
from core.store.session import Store
from core.store.workers import counters

READY_SECONDS = 1.8
"""Time for every question, so that the whole answer is there within two seconds."""
MOST_THREADS = 12
NO_ANSWER = "no answer in time"

Broker = Literal["answers", "away", "none"]
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatabaseState:
    """What the database says.

    Attributes:
        trouble: Why it cannot be used; empty when it answers.
        layout: What is wrong with its layout; empty when it is the one of this version.
        workers: Living workers that train.
    """

    trouble: str = ""
    layout: str = ""
    workers: int = 0


class Health:
    """Looks at database, broker and disk, each in a thread, together in two seconds.

    Args:
        store: Database.
        settings: Broker and home folder.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._limiter: anyio.CapacityLimiter | None = None

    async def state(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status, and what is known after at most two seconds."""
        database, broker, disk = await asyncio.gather(
            self._within(self._database, DatabaseState(trouble=NO_ANSWER)),
            self._within(self._broker, "away"),
            self._within(partial(room, self._settings.home_path), None),
        )
        is_usable = not database.trouble and not database.layout
        is_whole = is_usable and broker != "away" and database.workers > 0
        body = {
            "status": "ready" if is_whole else "degraded" if is_usable else "unready",
            "database": database.trouble or "answers",
            "schema": "unknown" if database.trouble else database.layout or "current",
            "broker": broker,
            "workers": database.workers,
            "disk_free_share": None if disk is None else round(disk.share, 4),
        }
        return 200 if is_usable else 503, body

    def _database(self) -> DatabaseState:
        try:
            with self._store.read() as session:
                if layout := migrate.layout_problem(session):
                    return DatabaseState(layout=layout)
                return DatabaseState(workers=len(counters(session, role="train")))
        except StoreError as error:
            return DatabaseState(trouble=str(error))

    def _broker(self) -> Broker:
        """Ask the broker; "none" when there is none to ask: workers then look by themselves."""
        settings = self._settings
        if not settings.broker_url and not settings.socket_path.exists() and find_server() is None:
            return "none"
        return "answers" if broker_answers(settings) else "away"

    async def _within(self, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
        """Ask in a thread; one that is stuck is left alone and holds one of a few places."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(MOST_THREADS)
        with anyio.move_on_after(READY_SECONDS):
            return await run_sync(ask, abandon_on_cancel=True, limiter=self._limiter)
        return otherwise


def broker_answers(settings: Settings) -> bool:
    """Tell whether the broker answers within half a second, looking up its name aside."""
    if not settings.broker_url:
        return answers(settings.socket_path)
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    parts = urlsplit(settings.broker_url)
    try:
        if parts.scheme == "redis+socket":
            client = Redis(unix_socket_path=parts.path, **options)
        else:
            client = Redis.from_url(settings.broker_url, **options)
        with client:
            return bool(client.ping())
    except (RedisError, OSError, ValueError) as error:
        logger.debug("the broker does not answer: %s", error)
        return False


def health_router(store: Store, settings: Settings, version: str) -> APIRouter:
    """Routes for those who watch the studio.

    Args:
        store: Database.
        settings: Broker and home folder.
        version: Version of the studio.
    """
    router = APIRouter()
    health = Health(store, settings)
    collector = StudioCollector(store, settings, version)

    @router.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "version": version}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        status, body = await health.state()
        return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(metrics_text(collector), media_type=CONTENT_TYPE_LATEST)

    return router
