"""Named places where tests make things fail; with nothing installed, passing one does nothing.

A place stands where a death or a refusal would leave things half done. ``POINTS`` lists all, so
that a test can visit each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

POINTS: Mapping[str, str] = {
    "checkpoint.begin": "before the first byte of a checkpoint",
    "checkpoint.written": "all files written, none synced",
    "checkpoint.synced": "all files durable, the folder still hidden",
    "checkpoint.renamed": "the folder has its name, nobody was told",
    "checkpoint.told": "the supervisor was told, the row is not written",
    "evaluation.final": "training is done and saved, the final evaluation begins",
    "results.written": "artifacts are durable, the end was not told",
    "artifact.published": "an artifact is in its place for all machines, nobody was told",
    "supervisor.claimed": "runs are claimed, the trainer does not have them",
    "supervisor.recorded": "rows are committed, what follows them is not done",
    "store.commit": "a transaction is about to commit",
    "store.committed": "a transaction is committed, its caller does not know",
}

_fault: Callable[[str], None] | None = None


def install(fault: Callable[[str], None] | None) -> None:
    """Have ``fault`` called with the name of each point that is passed; None: nothing any more."""
    global _fault
    _fault = fault


def reach(name: str) -> None:
    """Pass a point of ``POINTS``."""
    if _fault is not None:
        _fault(name)
