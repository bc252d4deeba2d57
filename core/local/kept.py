"""Files that the database counts on: are they there, are they whole, and what is left over."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import wording
from core.artifacts import ArtifactGone, ArtifactStore
from core.errors import ConfigError, DamagedCheckpoint
from core.states import ENDED
from core.store.check import Finding
from core.store.models import Attempt, Run, Study
from core.store.models_data import Artifact, Checkpoint
from core.store.session import Store
from core.training.sealed import MANIFEST, SealedFolder

LEFT_SECONDS = 3600.0
"""Age from which a folder that nobody knows is left over: a younger one may be on its way."""

RUNS_AT_ONCE = 200
PART = ".part"


@dataclass(frozen=True)
class Kept:
    """A file or folder that is registered.

    Attributes:
        run_id: Its run.
        slug: The run's short name.
        what: For people, for example ``checkpoint 40``.
        name: Path relative to the artifacts folder, or an absolute one.
        sha256: Digest of its manifest; empty where none is recorded.
        is_checkpoint: True for a checkpoint, False for an artifact.
    """

    run_id: str
    slug: str
    what: str
    name: str
    sha256: str
    is_checkpoint: bool


def registered(session: Session, run_ids: list[str]) -> list[Kept]:
    """List what is registered of some runs."""
    slug = (Study.number, Run.ordinal)
    checkpoints = session.execute(
        select(Checkpoint.run_id, Checkpoint.step, Checkpoint.folder, Checkpoint.sha256, *slug)
        .join(Run, Run.id == Checkpoint.run_id)
        .join(Study, Study.id == Run.study_id)
        .where(Checkpoint.run_id.in_(run_ids), Checkpoint.state == "registered")
        .order_by(Study.number, Run.ordinal, Checkpoint.step, Checkpoint.attempt)
    )
    found = [
        Kept(
            row.run_id,
            f"S{row.number}-{row.ordinal}",
            f"checkpoint {row.step}",
            row.folder,
            row.sha256,
            is_checkpoint=True,
        )
        for row in checkpoints
    ]
    artifacts = session.execute(
        select(Artifact.run_id, Artifact.name, Artifact.path, *slug)
        .join(Run, Run.id == Artifact.run_id)
        .join(Study, Study.id == Run.study_id)
        .where(Artifact.run_id.in_(run_ids))
        .order_by(Study.number, Run.ordinal, Artifact.name)
    )
    found += [
        Kept(
            row.run_id,
            f"S{row.number}-{row.ordinal}",
            row.name,
            row.path,
            "",
            is_checkpoint=False,
        )
        for row in artifacts
    ]
    return found


def all_registered(store: Store) -> Iterator[list[Kept]]:
    """List what is registered, some runs at a time, each time as it is by then."""
    last = ""
    while True:
        with store.read() as session:
            query = select(Run.id).where(Run.id > last).order_by(Run.id).limit(RUNS_AT_ONCE)
            run_ids = list(session.scalars(query))
            if not run_ids:
                return
            kept = registered(session, run_ids)
        last = run_ids[-1]
        yield kept


def damage_of(path: Path, sha256: str) -> str:
    """Say what is wrong with a registered file or folder; "" when nothing is.

    Args:
        path: A folder with a manifest, or a file.
        sha256: Digest of the manifest's bytes; empty: not known.
    """
    if path.is_file():
        return "" if path.stat().st_size else "is empty"
    if not path.is_dir():
        return "is not there"
    try:
        SealedFolder(path)
        content = (path / MANIFEST).read_bytes()
    except DamagedCheckpoint as error:
        return f"is damaged: {error.message}"
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        return "is another one than was registered: its digest differs"
    for name, entry in json.loads(content)["files"].items():
        file = path / name
        if not file.is_file():
            return f"lacks {name}"
        if digest(file) != entry["sha256"]:
            return f"is damaged: {name} is not what was written"
    return ""


def digest(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_files(store: Store, artifacts: ArtifactStore, counted: Counter[str]) -> list[Finding]:
    """Look at every registered file and folder of a studio that may be at work.

    Args:
        store: The database.
        artifacts: Where the files are; with a place for all machines, that one is looked at.
        counted: Files and folders are added to it.

    Raises:
        StoreError: If the database refuses.
        ArtifactError: If the place for all machines cannot be asked.
    """
    found = []
    for some in all_registered(store):
        bad = {kept: told for kept in some if (told := _look(artifacts, kept))}
        counted["registered files and folders"] += len(some)
        if not bad:
            continue
        # A checkpoint may have been replaced while it was looked at.
        with store.read() as session:
            still = set(registered(session, sorted({kept.run_id for kept in bad})))
        found += [
            Finding(kept.slug, f"{kept.what} ({kept.name}) {told}", _advice(kept))
            for kept, told in bad.items()
            if kept in still
        ]
    return found


def _advice(kept: Kept) -> str:
    if kept.is_checkpoint:
        return "its next attempt continues from an earlier one by itself"
    return "restore it from a backup, or launch the run again"


def _look(artifacts: ArtifactStore, kept: Kept) -> str:
    if not artifacts.is_shared or Path(kept.name).is_absolute():
        return damage_of(artifacts.local / kept.name, kept.sha256)
    with tempfile.TemporaryDirectory() as folder:
        try:
            here = ArtifactStore(artifacts.url, Path(folder)).fetch(kept.name)
        except ArtifactGone as error:
            return f"cannot be fetched: {error.message}"
        return damage_of(here, kept.sha256)


def leftovers(store: Store, artifacts: Path, now: float | None = None) -> list[Path]:
    """List folders of this machine that nobody knows and that are older than an hour.

    Those are folders of runs and attempts that the database does not have, checkpoints of ended
    attempts that are not registered (a damaged one is kept to be looked at), and hidden folders
    that a killed process was writing.

    Args:
        store: The database.
        artifacts: The artifacts folder.
        now: Seconds since 1970; None: the present.
    """
    before = (time.time() if now is None else now) - LEFT_SECONDS
    found: list[Path] = []
    runs = sorted(_folders(artifacts / "runs"))
    for start in range(0, len(runs), RUNS_AT_ONCE):
        # Folders are listed first: one that is made later cannot be missing from the database.
        inside = {run: _inside(run) for run in runs[start : start + RUNS_AT_ONCE]}
        with store.read() as session:
            known = _known(session, [run.name for run in inside])
        for run, attempts in inside.items():
            found += _unknown(run, attempts, known.get(run.name), artifacts)
    return [path for path in found if _changed_at(path) < before]


def _inside(run: Path) -> dict[Path, list[Path]]:
    """Checkpoint folders of a run by the folder of their attempt."""
    return {attempt: sorted(_folders(attempt / "checkpoints")) for attempt in sorted(_folders(run))}


def _unknown(
    run: Path, attempts: dict[Path, list[Path]], known: _Known | None, artifacts: Path
) -> Iterator[Path]:
    if known is None:
        yield run
        return
    for attempt, checkpoints in attempts.items():
        if attempt.name not in known.attempts:
            yield attempt
            continue
        is_settled = known.attempts[attempt.name]
        for folder in checkpoints:
            is_known = folder.relative_to(artifacts).as_posix() in known.checkpoints
            if not is_known and (is_settled or folder.name.endswith(PART)):
                yield folder


def require_same_studio(store: Store, artifacts: Path) -> None:
    """Refuse to delete by a database that knows fewer than half of the runs of a folder.

    Raises:
        ConfigError: Saying how many it knows; it is most likely not the folder's database.
    """
    runs = sorted(path.name for path in _folders(artifacts / "runs"))
    num_known = 0
    for start in range(0, len(runs), RUNS_AT_ONCE):
        some = runs[start : start + RUNS_AT_ONCE]
        with store.read() as session:
            query = select(func.count()).select_from(Run).where(Run.id.in_(some))
            num_known += session.scalar(query) or 0
    if 2 * num_known < len(runs):
        raise ConfigError(
            f"The database {store.shown_url} knows {num_known:,} of "
            f"{wording.counted(len(runs), 'run')} with folders in {artifacts}, so it is most "
            "likely not theirs; nothing was deleted.",
            hint="Set STUDIO_DATABASE_URL to the database of these runs. If it is gone for good, "
            "delete the folders by hand.",
        )


def remove(paths: list[Path]) -> None:
    """Delete folders; one that cannot be deleted stays."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class _Known:
    """Attempts of a run by folder name, True for those whose checkpoints are settled; folders."""

    attempts: dict[str, bool]
    checkpoints: frozenset[str]


def _known(session: Session, run_ids: list[str]) -> dict[str, _Known]:
    states = {
        row.id: row.state
        for row in session.execute(select(Run.id, Run.state).where(Run.id.in_(run_ids)))
    }
    attempts: dict[str, dict[str, bool]] = {run_id: {} for run_id in states}
    for row in session.execute(
        select(Attempt.run_id, Attempt.attempt, Attempt.fence, Attempt.ended_at).where(
            Attempt.run_id.in_(list(states))
        )
    ):
        is_settled = row.ended_at is not None or states[row.run_id] in ENDED
        attempts[row.run_id][f"{row.attempt}-{row.fence}"] = is_settled
    folders: dict[str, set[str]] = {}
    for checkpoint in session.execute(
        select(Checkpoint.run_id, Checkpoint.folder).where(
            Checkpoint.run_id.in_(list(states)), Checkpoint.state != "deleted"
        )
    ):
        folders.setdefault(checkpoint.run_id, set()).add(checkpoint.folder)
    return {
        run_id: _Known(mine, frozenset(folders.get(run_id, ())))
        for run_id, mine in attempts.items()
    }


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir())


def _changed_at(path: Path) -> float:
    """When anything in a folder last changed, seconds since 1970; "now" when it just went."""
    try:
        times = [path.stat().st_mtime, *(part.stat().st_mtime for part in path.rglob("*"))]
    except OSError:
        return float("inf")
    return max(times)
