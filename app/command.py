"""``studio run``: a recipe from the command line to the table of results, without a browser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from app.actions import submit_recipe, unserved_note
from app.preview import warnings_of
from app.progress import StudyProgress
from app.result_table import average_lines, gains_table, results_table, seeds_table
from app.submission import prepare_runs
from core.errors import RecipeErrors, StudioError
from core.local.hands import Hands
from core.local.services import open_home
from core.local.wait import StopRequest, stop_on_signals
from core.logs import configure_logging
from core.recipe import Recipe
from core.recipe_files import load_recipe
from core.settings import Settings, get_settings
from core.states import RunState, is_ended
from core.store import queries
from core.store.models import DEFAULT_QUEUE
from core.store.session import Store
from core.store.views import RunFilters, StudyView
from core.store.waiting import queue_names
from core.wording import counted

LOOK_SECONDS = 0.5
SUCCEEDED, RUN_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
WIDTH_WITHOUT_TERMINAL = 140


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a recipe and print its results.

    Returns:
        0 when all runs succeeded, 1 when one failed or was cancelled, 2 on bad input (nothing was
        queued), 130 when interrupted (what has not ended stays queued).
    """
    parser = argparse.ArgumentParser(prog="studio run", description=__doc__)
    parser.add_argument("recipe", help="name of a shipped recipe, or a YAML file")
    parser.add_argument("--queue", default=DEFAULT_QUEUE, help="queue that the runs wait in")
    options = parser.parse_args(arguments)
    reference = options.recipe
    settings = get_settings()
    configure_logging(settings.log_format)
    notes = Console(stderr=True)
    try:
        recipe = load_recipe(reference)
        # Only a check before anything is started: a study keeps the recipe as it was written.
        prepare_runs(recipe, settings)
        (queue,) = queue_names([options.queue])
        open_home(settings)
        with stop_on_signals() as stop:
            return train(recipe, settings, stop, notes, queue)
    except RecipeErrors as error:
        write(notes, f"{reference} has {counted(len(error.problems), 'problem')}:")
        for problem in error.problems:
            write(notes, f"  {problem}")
        return BAD_INPUT
    except StudioError as error:
        write(notes, str(error))
        return BAD_INPUT


def write(console: Console, text: str) -> None:
    """Write a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def train(
    recipe: Recipe,
    settings: Settings,
    stop: StopRequest,
    notes: Console,
    queue: str = DEFAULT_QUEUE,
) -> int:
    """Submit the recipe, show its progress until it ends, and print the tables."""
    hands = Hands(settings, stop, lambda text: write(notes, text), queue=queue)
    try:
        hands.take()
        if stop:
            write(notes, "Interrupted before anything was queued.")
            return INTERRUPTED
        store = Store(settings.sqlalchemy_url)
        study = submit_recipe(store, recipe, queue=queue, settings=settings)
        where = f"; watch it at {hands.url}" if hands.url else ""
        write(
            notes, f"S{study.number} '{recipe.name}': {counted(len(study.run_ids), 'run')}{where}"
        )
        for warning in warnings_of(recipe, settings):
            write(notes, f"Note: {warning}")
        # A worker that is on its way may not have said so yet.
        if not hands.will_serve(queue) and (note := unserved_note(store, queue)):
            write(notes, note)
        view = watch(store, study.id, hands, stop, notes)
        if stop and not is_over(view):
            were_ours, url = hands.are_ours, hands.url
            hands.release()
            left = sum(not is_ended(run.state) for run in read_study(store, study.id).runs)
            note = unserved_note(store, queue)
            write(notes, interrupted(left, queue, note, url=url, were_ours=were_ours))
            return INTERRUPTED
        return print_results(store, view)
    finally:
        hands.release()


def is_over(view: StudyView) -> bool:
    """Tell whether nothing of a study will move by itself any more."""
    ended = all(is_ended(run.state) for run in view.runs)
    closed = view.row.closed_at is not None or view.row.cancelled_at is not None
    return ended and (closed or view.row.protocol == "fixed")


def read_study(store: Store, study_id: str) -> StudyView:
    """Read a study with its runs."""
    with store.read() as session:
        return queries.study_overview(session, study_id)


def watch(
    store: Store, study_id: str, hands: Hands, stop: StopRequest, notes: Console
) -> StudyView:
    """Show progress until the study is over or the person stops it."""
    view = read_study(store, study_id)
    with StudyProgress(notes, len(view.runs)) as progress:
        hands.tell = progress.tell
        progress.show(view.runs)
        while not stop and not is_over(view):
            stop.sleep(LOOK_SECONDS)
            hands.tend()
            view = read_study(store, study_id)
            progress.show(view.runs)
    return view


def interrupted(left: int, queue: str, note: str, *, url: str, were_ours: bool) -> str:
    """Say what happens with the runs that have not ended.

    Args:
        left: Their number.
        queue: Queue that they wait in.
        note: What says that no worker serves it; empty when one does.
        url: Page of the studio that has the home folder, which serves the usual queue.
        were_ours: Tells whether the worker was started here, and so has ended.
    """
    runs = counted(left, "run")
    if queue != DEFAULT_QUEUE and note:
        return f"Interrupted with {runs} still queued. {note}"
    if url and queue == DEFAULT_QUEUE:
        return f"Interrupted: the studio at {url} goes on with {runs}."
    if not (were_ours or note):
        return f"Interrupted: the workers of the queue {queue} go on with {runs}."
    again = "'studio up' or the next 'studio run' goes on"
    if queue != DEFAULT_QUEUE:
        again = f"a worker of the queue {queue} goes on: ./studio worker --queues {queue}"
    return f"Interrupted with {runs} still queued; {again}."


def print_results(store: Store, view: StudyView) -> int:
    """Print the table of runs and, with several seeds, the table of means."""
    with store.read() as session:
        rows = queries.comparison(session, RunFilters(study_ids=(view.row.id,)))
    reasons = {
        run.id: run.exit_detail or run.exit_kind or str(run.state)
        for run in view.runs
        if run.state is not RunState.SUCCEEDED
    }
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(results_table(rows, reasons))
    for table in (seeds_table(rows), gains_table(rows)):
        if table is not None:
            console.print(table)
    for line in average_lines(rows):
        write(console, line)
    finals = [run for run in view.runs if run.role == "final"]
    succeeded = sum(run.state is RunState.SUCCEEDED for run in finals)
    write(console, f"{succeeded} of {counted(len(finals), 'run')} succeeded.")
    return SUCCEEDED if succeeded == len(finals) > 0 else RUN_FAILED


if __name__ == "__main__":
    sys.exit(main())
