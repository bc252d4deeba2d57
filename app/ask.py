"""``studio predict``: what trained runs answer to typed texts, without a browser."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from app import playground
from app.result_table import percent
from core.errors import InputError, StoreError, StudioError
from core.local.hands import Hands
from core.local.services import open_home
from core.local.wait import StopRequest, stop_on_signals
from core.logs import configure_logging
from core.queue import ring_predict
from core.settings import Settings, get_settings
from core.store import predictions, queries
from core.store.migrate import require_head
from core.store.session import Store
from core.stored_config import read_config
from core.texts import check_texts

ANSWERED, NO_ANSWER, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LONGEST_WAIT_SECONDS = 90.0
LOOK_SECONDS = 0.1
WIDTH_WITHOUT_TERMINAL = 120


@dataclass(frozen=True)
class Asked:
    """Who is asked, and as what they shall read the texts.

    Attributes:
        names: Name for people of each run, by id.
        task: Name of the task; empty: the only one that each run knows.
    """

    names: Mapping[str, str]
    task: str


NO_RUNS = InputError(
    "There is no trained run to ask.", hint="Train some with 'studio up' or 'studio run'."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask runs about one input and print their answers.

    Returns:
        0 when each run answered, 1 when one did not, 2 on bad input, 130 when interrupted.
    """
    parser = argparse.ArgumentParser(prog="studio predict", description=__doc__)
    parser.add_argument("--run", action="append", default=[], help="run, for example S3-12")
    parser.add_argument("--task", default="", help="task, for runs that were trained on several")
    parser.add_argument("texts", nargs="+", help="the texts of one input, in the task's order")
    options = parser.parse_args(arguments)
    settings = get_settings()
    configure_logging(settings.log_format)
    notes = Console(stderr=True)
    try:
        check_texts(options.texts)
        open_home(settings)
        require_head(settings.sqlalchemy_url)
        store = Store(settings.sqlalchemy_url)
        asked = choose_runs(store, settings, options.run, options.task, options.texts)
        with stop_on_signals() as stop:
            return ask(store, settings, options.texts, asked, stop)
    except StudioError as error:
        notes.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return BAD_INPUT


def choose_runs(
    store: Store, settings: Settings, wanted: Sequence[str], task: str, texts: Sequence[str]
) -> Asked:
    """Choose whom to ask: the named runs, else the best of the newest study on the task.

    Raises:
        NotFound: If there is no such run.
        InputError: If nothing is trained yet, or a run could not read the texts.
        ConfigError: If a run comes from another version.
    """
    others: list[str] = []
    if not wanted:
        tasks = playground.choices(store, settings.data_folders).tasks
        found = next((one for one in tasks if task in ("", one.name)), None)
        if found is None:
            raise _no_runs(task, [one.name for one in tasks])
        others = [] if task else [one.name for one in tasks if one is not found]
        wanted, task = found.default_run_ids, found.name
    with store.read() as session:
        views = [queries.run_view(session, name) for name in wanted]
    for view in views:
        config = read_config(view.config, view.row.slug)
        try:
            playground.check_input(config, task, texts, settings.data_folders)
        except InputError as error:
            if not others:
                raise
            named = " or ".join(f"--task {one}" for one in others)
            raise InputError(
                f"These texts go to '{task}': {error.message}",
                hint=f"{error.hint} For another task: {named}.".lstrip(),
            ) from error
    return Asked({v.row.id: f"{v.row.slug} {v.row.method_label}" for v in views}, task)


def _no_runs(task: str, known: Sequence[str]) -> InputError:
    if not known:
        return NO_RUNS
    return InputError(f"No run was trained on '{task}'; there are runs of {', '.join(known)}.")


def ask(
    store: Store,
    settings: Settings,
    texts: Sequence[str],
    asked: Asked,
    stop: StopRequest,
) -> int:
    """Queue the question, wait for the predictor, and print the answers."""
    notes = Console(stderr=True)
    hands = Hands(settings, stop, lambda text: notes.print(text, markup=False), role="predict")
    try:
        hands.take()
        with store.write() as session:
            question = predictions.create_prediction(
                session, texts, list(asked.names), task=asked.task
            )
        ring_predict(question)
        answers = wait_for_answers(store, question, hands, stop)
    finally:
        hands.release()
    if stop:
        return INTERRUPTED
    out = Console()
    if not out.is_terminal:
        out = Console(width=WIDTH_WITHOUT_TERMINAL)
    out.print(answers_table(asked.names, answers))
    complete = set(answers) == set(asked.names) and not any(
        body["error"] for body in answers.values()
    )
    return ANSWERED if complete else NO_ANSWER


def wait_for_answers(
    store: Store, question: str, hands: Hands, stop: StopRequest
) -> dict[str, Mapping[str, Any]]:
    """Collect answers by run id until none follows.

    Raises:
        StoreError: If no predictor answers in time.
    """
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        with store.read() as session:
            view = predictions.read_answers(session, question)
        if view.is_ended or stop:
            if view.error:
                raise InputError(view.error)
            return {answer.run_id: answer.body for answer in view.answers}
        if time.monotonic() > deadline:
            raise StoreError(
                f"No predictor answered within {LONGEST_WAIT_SECONDS:.0f} s.",
                hint=f"See {hands.log_folder / 'predictor.log'}, or start 'studio up'.",
            )
        hands.tend()
        stop.sleep(LOOK_SECONDS)


def answers_table(names: Mapping[str, str], answers: Mapping[str, Mapping[str, Any]]) -> Table:
    """Build the table: label, its probability, and the sentence with the prompt around it."""
    table = Table()
    for heading in ("run", "label", "%", "text, <n> marks n prompt vectors"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "%" else "left")
    for run_id, name in names.items():
        body = answers.get(run_id)
        if body is None or body["error"]:
            table.add_row(name, "–", "–", body["error"] if body else "no answer")
            continue
        share = body["probabilities"].get(body["label"])
        table.add_row(name, str(body["label"]), percent(share), sentence(body))
    return table


def sentence(body: Mapping[str, Any]) -> str:
    """Write the tokens with the number of prompt vectors where they stand.

    Each piece of the prompt says how many tokens stand in front of it.
    """
    words = [str(token) for token in body["tokens"]]
    for tokens_before, vectors in reversed(body["pieces"]):
        words.insert(tokens_before, f"<{vectors}>")
    if body["used_tokens"] < body["total_tokens"]:
        words.append(f"(first {body['used_tokens']} of {body['total_tokens']} tokens used)")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
