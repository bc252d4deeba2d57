"""What a person can do, for page, API and command line alike; nothing here knows of Gradio."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.stored_config import read_config
from core import queue
from core.backbones.facts import facts, require_room, weights_folder
from core.backbones.spec import BACKBONES, BackboneChoice
from core.data.tasks import read_task, resolve
from core.errors import BackboneError, ConfigError, DataError, RecipeErrors, StudioError
from core.methods import BackboneFacts
from core.recipe import Recipe
from core.recipe_files import load_recipe, parse_recipe
from core.recipe_parts import Seeds, TaskChoice
from core.settings import Settings, get_settings
from core.states import RunState
from core.store import endings, queries, studies

if TYPE_CHECKING:
    from core.store.session import Store

logger = logging.getLogger(__name__)

DEMO_RECIPE = "demo"
DEMO_KEY = "demo-study"
DEMO_PRIORITY = -10
MOST_RINGS = 4


def submit_recipe(
    store: Store,
    recipe: Recipe,
    *,
    idempotency_key: str = "",
    priority: int = 0,
    is_demo: bool = False,
    settings: Settings | None = None,
) -> studies.CreatedStudy:
    """Check a recipe completely, store its study with queued runs, and wake the workers.

    Args:
        store: Database.
        recipe: The study.
        idempotency_key: Names the submission; a second one with the same key changes nothing.
        priority: 0 for users, -10 for the demo.
        is_demo: Marks the study that the studio trains by itself.
        settings: Folders and offline rule; by default those of the process.

    Raises:
        RecipeErrors: With every problem at once, each with its field; nothing is queued then.
        StoreError: If the database refuses.
    """
    ready = prepare_recipe(recipe, settings or get_settings())
    with store.write() as session:
        study = studies.create_study(
            session,
            recipe,
            ready.runs(),
            idempotency_key=idempotency_key,
            priority=priority,
            is_demo=is_demo,
        )
    if study.is_new:
        # Each ring wakes one worker, which takes as many runs as it can.
        for run_id in study.run_ids[:MOST_RINGS]:
            queue.ring_execute(run_id)
    return study


def prepare_recipe(recipe: Recipe, settings: Settings) -> Recipe:
    """Fill in each task's folder and data version after checking files, backbones and lengths.

    Raises:
        RecipeErrors: With every problem at once, in the order of the recipe's fields.
    """
    problems: list[ConfigError] = []
    tasks = _check_tasks(recipe, settings.data_folders, problems)
    _check_backbones(recipe, settings.offline, problems)
    if problems:
        raise RecipeErrors(problems)
    return recipe.model_copy(update={"tasks": tuple(tasks)})


def task_problems(recipe: Recipe, settings: Settings) -> list[ConfigError]:
    """Find what is wrong with the files of a recipe's tasks; fast, and asks no hub."""
    problems: list[ConfigError] = []
    _check_tasks(recipe, settings.data_folders, problems)
    return problems


def _check_tasks(
    recipe: Recipe, folders: Sequence[Path], problems: list[ConfigError]
) -> list[TaskChoice]:
    resolved: list[TaskChoice] = []
    for number, choice in enumerate(recipe.tasks):
        try:
            task = resolve(choice, folders)
            data = read_task(task, folders, selection=recipe.selection)
        except DataError as error:
            problems.append(ConfigError(error.message, field=f"tasks.{number}", hint=error.hint))
            continue
        resolved.append(task)
        labels = [example.label for example in data.train]
        keys = [example.key for example in data.train]
        for place, regime in enumerate(recipe.regimes):
            try:
                regime.select(labels, keys, len(data.labels), recipe.seeds.data[0])
            except DataError as error:
                problems.append(
                    ConfigError(
                        f"task '{choice.name}': {error.message}",
                        field=f"regimes.{place}",
                        hint=error.hint,
                    )
                )
    return resolved


def backbone_facts(choice: BackboneChoice, *, offline: bool) -> BackboneFacts:
    """Read a backbone's sizes after checking that a worker will find its files.

    Weights of a Hub model are not fetched here: the worker does that when it needs them.

    Raises:
        BackboneError: If the files are missing or wrong, or the Hub must not be asked.
    """
    on_hub = bool(choice.hub or (choice.name and BACKBONES[choice.name].hub))
    if offline or not on_hub:
        weights_folder(choice, offline)
    return facts(choice, offline)


def _check_backbones(recipe: Recipe, offline: bool, problems: list[ConfigError]) -> None:
    longest = max(method.prompt_length for method in recipe.methods)
    for number, choice in enumerate(recipe.backbones):
        try:
            require_room(
                backbone_facts(choice, offline=offline), recipe.training.max_tokens, longest
            )
        except BackboneError as error:
            problems.append(
                ConfigError(error.message, field=f"backbones.{number}", hint=error.hint)
            )
        except ConfigError as error:
            problems.append(error)


def cancel_run(store: Store, run_id: str) -> RunState:
    """Cancel a queued run at once, or ask its worker to stop at the next step; return its state.

    Raises:
        NotFound: If there is no such run.
    """
    with store.write() as session:
        state = endings.request_cancel(session, run_id)
    queue.ring_execute(run_id)
    return state


def cancel_study(store: Store, study_id: str) -> int:
    """Cancel all runs of a study that have not ended; return how many.

    Raises:
        NotFound: If there is no such study.
    """
    with store.write() as session:
        count = endings.cancel_study(session, study_id)
    queue.ring_execute(study_id)
    return count


def retry_run(store: Store, run_id: str) -> RunState:
    """Queue a failed or cancelled run again from its last checkpoint; return its state.

    Raises:
        NotFound: If there is no such run.
    """
    with store.write() as session:
        state = endings.retry(session, run_id)
    queue.ring_execute(run_id)
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


def open_test(store: Store, study_id: str) -> int:
    """Show the test numbers of a study before it closed; recorded. Return how often by now.

    Raises:
        NotFound: If there is no such study.
    """
    with store.write() as session:
        return studies.open_test(session, study_id)


def clone_recipe(store: Store, run_id: str) -> Recipe:
    """Make a recipe with exactly this run's settings, to be changed and queued again.

    Raises:
        NotFound: If there is no such run.
        ConfigError: If this version cannot read its config.
    """
    with store.read() as session:
        view = queries.run_view(session, run_id)
    config = read_config(view.config, view.row.slug)
    task = config.task.model_copy(update={"data_version": ""})
    return Recipe(
        name=f"{view.study.name} (copy of {view.row.slug})"[:120],
        tasks=(task,),
        methods=(config.method,),
        backbones=(config.backbone,),
        regimes=(config.regime,),
        seeds=Seeds(data=(config.seeds.data,), init=(config.seeds.init,)),
        training=config.training,
        selection=config.selection,
    )


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
    "backbone_facts",
    "cancel_run",
    "cancel_study",
    "clone_recipe",
    "clone_study",
    "open_test",
    "prepare_recipe",
    "retry_run",
    "retry_study",
    "seed_demo_study",
    "submit_recipe",
    "task_problems",
]
