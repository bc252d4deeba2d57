"""Queues of studies: which there are, which nobody serves, and how much memory a run may need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from app.submission import backbone_facts
from core.backbones.memory import peak_bytes
from core.errors import StudioError
from core.methods import BackboneFacts
from core.recipe import RunConfig
from core.settings import Settings
from core.store.models import DEFAULT_QUEUE
from core.store.queue_rows import served_queues
from core.store.waiting import queue_names

if TYPE_CHECKING:
    from core.store.session import Store

logger = logging.getLogger(__name__)


def memory_estimate(configs: Sequence[RunConfig], settings: Settings) -> Callable[[RunConfig], int]:
    """Build the estimate of a run's memory in bytes; 0 where the backbone's sizes are unknown.

    Args:
        configs: Runs whose backbones are looked up now, so that no transaction waits for a hub.
        settings: Offline rule.
    """
    known: dict[str, BackboneFacts] = {}
    for backbone in {config.backbone.source_key: config.backbone for config in configs}.values():
        try:
            known[backbone.source_key] = backbone_facts(backbone, offline=settings.offline)
        except StudioError as error:
            logger.info("the memory of its runs is not known: %s", error)

    def estimate(config: RunConfig) -> int:
        sizes = known.get(config.backbone.source_key)
        return peak_bytes(config, sizes) if sizes else 0

    return estimate


def queue_choices(store: Store) -> tuple[str, ...]:
    """Queues that workers serve now and the usual one, which comes first."""
    with store.read() as session:
        served = served_queues(session)
    return (DEFAULT_QUEUE, *(name for name in served if name != DEFAULT_QUEUE))


def unserved_note(store: Store, queue: str) -> str:
    """Say that runs of a queue wait because no worker serves it; empty when one does.

    Raises:
        ConfigError: If the queue's name is none.
    """
    (queue,) = queue_names([queue])
    with store.read() as session:
        served = served_queues(session)
    if queue in served:
        return ""
    return (
        f"No worker serves the queue {queue} now; the runs wait until one is started with "
        f"./studio worker --queues {queue}."
    )
