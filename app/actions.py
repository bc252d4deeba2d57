"""What a person can do, for page, API and command line alike; nothing here knows of Gradio."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.queueing import memory_estimate, unserved_note
from app.submission import prepare_runs
from core import queue as bell
from core.data.tasks import locate
from core.disk import require_room
from core.errors import ConfigError, DataError, RecipeErrors, StudioError
from core.recipe import Recipe, RunConfig
from core.recipe_files import load_recipe, parse_recipe
from core.recipe_parts import Seeds, TaskChoice
from core.settings import Settings, get_settings
from core.states import RunState
from core.store import endings, queries, runs, studies
from core.store.models import DEFAULT_QUEUE
from core.store.queue_rows import highest_priority, queue_of_run, queue_of_study
from core.store.waiting import queue_names
from core.stored_config import read_config
from core.tasks import TASKS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from core.store.session import Store

logger = logging.getLogger(__name__)

DEMO_RECIPE = "demo"
DEMO_KEY = "demo-study"
DEMO_PRIORITY = -10
MOST_RINGS = 4

Place = Literal["first", "normal", "later"]
PRIORITY_OF: Mapping[Place, int] = {"first": 10, "normal": 0, "later": -5}
"""Priority of a study by its place; the demo has a lower one, and waits for all of them."""


def submit_recipe(
    store: Store,
    recipe: Recipe,
    *,
    idempotency_key: str = "",
    priority: int = 0,
    is_demo: bool = False,
    queue: str = DEFAULT_QUEUE,
    settings: Settings | None = None,
) -> studies.CreatedStudy:
    """Check a recipe completely, store its study with queued runs, and wake the workers.

    Args:
        store: Database.
        recipe: The study.
        idempotency_key: Names the submission; a second one with the same key changes nothing.
        priority: 0 for users, -10 for the demo.
        is_demo: Marks the study that the studio trains by itself.
        queue: Name of the queue that its runs wait in; no worker need serve it yet.
        settings: Folders and offline rule; by default those of the process.

    Raises:
        ConfigError: If the disk is nearly full, or the queue's name is none.
        RecipeErrors: With every problem at once, each with its field; nothing is queued then.
        StoreError: If the database refuses.
    """
    settings = settings or get_settings()
    (queue,) = queue_names([queue])
    require_room(settings.home_path)
    configs = prepare_runs(recipe, settings, store)
    memory_of = memory_estimate(configs, settings)

    def insert(session: Session) -> studies.CreatedStudy:
        created = studies.create_study(
            session,
            recipe,
            configs,
            idempotency_key=idempotency_key,
            priority=priority,
            is_demo=is_demo,
            queue=queue,
            memory_of=memory_of,
        )
        if created.is_new:
            _require_datasets(recipe, configs, settings.data_folders)
        return created

    study = store.transact(insert)
    if study.is_new:
        # Each ring wakes one worker, which takes as many runs as it can.
        for run_id in study.run_ids[:MOST_RINGS]:
            bell.ring_execute(run_id, queue)
    return study


def _require_datasets(
    recipe: Recipe, configs: Sequence[RunConfig], folders: Sequence[Path]
) -> None:
    """Refuse added data sets that were deleted since the runs were made.

    Call it after the study was inserted, in the same transaction: from there on deleting waits, and
    finds the runs.

    Raises:
        RecipeErrors: Naming each.
    """
    used = {(t.name, t.dataset): t for config in configs for t in config.tasks if t.dataset}
    fields = {task.name: f"tasks.{number}" for number, task in enumerate(recipe.tasks)}
    problems = []
    for task in used.values():
        try:
            locate(task, folders)
        except DataError as error:
            field = fields[task.name]
            problems.append(ConfigError(error.message, field=field, hint=error.hint))
    if problems:
        raise RecipeErrors(problems)


def cancel_run(store: Store, run_id: str) -> RunState:
    """Cancel a queued run at once, or ask its worker to stop at the next step; return its state.

    Raises:
        NotFound: If there is no such run.
    """
    state, queue = store.transact(
        lambda session: (endings.request_cancel(session, run_id), queue_of_run(session, run_id))
    )
    bell.ring_execute(run_id, queue)
    return state


def cancel_study(store: Store, study_id: str) -> int:
    """Cancel all runs of a study that have not ended; return how many.

    Raises:
        NotFound: If there is no such study.
    """
    count, queue = store.transact(
        lambda session: (
            endings.cancel_study(session, study_id),
            queue_of_study(session, study_id),
        )
    )
    bell.ring_execute(study_id, queue)
    return count


def retry_run(store: Store, run_id: str) -> RunState:
    """Queue a failed or cancelled run again from its last checkpoint; return its state.

    Raises:
        NotFound: If there is no such run.
    """
    state, queue = store.transact(
        lambda session: (endings.retry(session, run_id), queue_of_run(session, run_id))
    )
    bell.ring_execute(run_id, queue)
    return state


def retry_study(store: Store, study_id: str) -> int:
    """Queue all failed runs of a study again; return how many.

    Raises:
        NotFound: If there is no such study.
    """
    with store.read() as session:
        rows = queries.study_overview(session, study_id).runs
    failed = [row.id for row in rows if row.state is RunState.FAILED]
    for run_id in failed:
        retry_run(store, run_id)
    return len(failed)


def to_front(store: Store, run_id: str) -> bool:
    """Let a queued run be claimed before all others; False: it is not queued any more.

    Raises:
        NotFound: If there is no such run.
    """
    moved, queue = store.transact(
        lambda session: (runs.to_front(session, run_id), queue_of_run(session, run_id))
    )
    bell.ring_execute(run_id, queue)
    return moved


def place_study(store: Store, study_id: str, place: Place) -> int:
    """Let the waiting runs of a study go ``first``, in their ``normal`` turn, or ``later``.

    Returns:
        The study's priority now.

    Raises:
        NotFound: If there is no such study.
    """

    def move(session: Session) -> tuple[int, str]:
        wanted = PRIORITY_OF[place]
        if place == "first":
            wanted = max(wanted, highest_priority(session, but_study=study_id) + 1)
        studies.set_priority(session, study_id, wanted)
        return wanted, queue_of_study(session, study_id)

    priority, queue = store.transact(move)
    bell.ring_execute(study_id, queue)
    return priority


def open_test(store: Store, study_id: str) -> int:
    """Show the test numbers of a study before it closed; recorded. Return how often by now.

    Raises:
        NotFound: If there is no such study.
    """
    return store.transact(lambda session: studies.open_test(session, study_id))


def clone_recipe(store: Store, run_id: str, settings: Settings | None = None) -> Recipe:
    """Make a recipe with this run's settings, to be changed and queued again.

    A run of cross-fitting is cloned with its settings alone: its copy chooses on dev.

    Args:
        store: Database.
        run_id: The run, by id or short name.
        settings: Data folders; by default those of the process.

    Raises:
        NotFound: If there is no such run.
        ConfigError: If this version cannot read its config.
    """
    with store.read() as session:
        view = queries.run_view(session, run_id)
    config = read_config(view.config, view.row.slug)
    folders = (settings or get_settings()).data_folders
    return Recipe(
        name=f"{view.study.name} (copy of {view.row.slug})"[:120],
        tasks=tuple(_as_written(task, folders) for task in config.tasks),
        methods=(config.method,),
        backbones=(config.backbone,),
        regimes=(config.regime,),
        seeds=Seeds(data=(config.seeds.data,), init=(config.seeds.init,)),
        training=config.training,
        selection="paper_practice" if config.selection == "paper_practice" else "dev",
        init_from=config.init_from,
    )


def _as_written(task: TaskChoice, folders: Sequence[Path]) -> TaskChoice:
    """Take out what queueing filled in: data version, usual template, a folder found by name."""
    spec = None if task.dataset else TASKS.get(task.name)
    usual = spec.template_names[0] if spec else "plain"
    template = "" if task.template == usual else task.template
    kept = task.model_copy(update={"data_version": "", "template": template})
    bare = kept.model_copy(update={"folder": ""})
    if task.dataset or spec is None:
        return bare if task.dataset else kept
    try:
        return bare if str(locate(bare, folders)) == task.folder else kept
    except DataError:
        return kept


def clone_study(store: Store, study_id: str) -> Recipe:
    """Return the recipe of a study with a new name, for the data as they are now.

    Raises:
        NotFound: If there is no such study.
    """
    with store.read() as session:
        view = queries.study_overview(session, study_id)
    recipe = parse_recipe(json.loads(view.recipe))
    tasks = tuple(task.model_copy(update={"data_version": ""}) for task in recipe.tasks)
    return recipe.model_copy(update={"name": f"{recipe.name} (copy)"[:120], "tasks": tasks})


def seed_demo_study(store: Store) -> studies.CreatedStudy | None:
    """Queue the demo study unless it exists; None when it exists or cannot be made.

    A demo that cannot be made is told in the log and stops nothing.
    """
    with store.read() as session:
        if queries.home(session).demo is not None:
            return None
    try:
        return submit_recipe(
            store,
            load_recipe(DEMO_RECIPE),
            idempotency_key=DEMO_KEY,
            priority=DEMO_PRIORITY,
            is_demo=True,
        )
    except StudioError as error:
        logger.warning("the demo study was not queued: %s", error)
        return None


__all__ = [
    "cancel_run",
    "cancel_study",
    "clone_recipe",
    "clone_study",
    "open_test",
    "place_study",
    "retry_run",
    "retry_study",
    "seed_demo_study",
    "submit_recipe",
    "to_front",
    "unserved_note",
]
