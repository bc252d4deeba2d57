"""One run: everything of its page, curves by cursor, chosen cuts, and the end of its log."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from app.api._figure import figure_response
from app.api._parts import StoreOf, as_json
from app.run_words import about
from app.stored_config import read_config
from core.errors import ConfigError, NotFound
from core.metrics import TITLES
from core.metrics.flags import FLAGS
from core.plots import choice_histogram
from core.store import queries, scalars
from core.store.views import RunView
from core.tuning import selecting_metric

router = APIRouter(tags=["runs"])
MAX_NAMES = 20
Text = Annotated[str, Query(max_length=4000)]


@router.get("/runs/{run_id}")
def run(store: StoreOf, run_id: str) -> dict[str, Any]:
    """Everything of one run's page but its curves, by id or short name."""
    with store.read() as session:
        view = queries.run_view(session, run_id)
    return run_body(view)


def run_body(view: RunView) -> dict[str, Any]:
    """Describe a run for the browser: its row, its config, and words for both."""
    body: dict[str, Any] = as_json(view)
    try:
        config = read_config(view.config, view.row.slug)
    except ConfigError as error:
        # A run of another version still has curves, events and a log to look at.
        body["config"], body["sentence"] = json.loads(view.config), str(error)
        body["about"], body["criterion"] = [], view.row.metric
    else:
        body["config"] = config.model_dump(mode="json")
        body["sentence"] = config.method.describe()
        body["about"], body["criterion"] = about(config), selecting_metric(config)
    body["flags"], body["titles"] = FLAGS, TITLES
    return body


@router.get("/runs/{run_id}/curves")
def curves(store: StoreOf, run_id: str, names: Text = "", cursor: Text = "") -> dict[str, Any]:
    """Points after the cursor; ``reset`` says to forget all points that were read before."""
    wanted = [name for name in names.split(",") if name][:MAX_NAMES]
    with store.read() as session:
        found = scalars.read_curves(session, {run_id: scalars.Cursor.decode(cursor)}, wanted)
    if run_id not in found:
        raise NotFound(f"There is no run {run_id}.", hint="Runs lists all runs.")
    page = found[run_id]
    return {
        "curves": {
            name: {"steps": curve.steps, "values": curve.values}
            for name, curve in page.curves.items()
        },
        "cursor": page.cursor.encode(),
        "reset": page.reset,
    }


@router.get("/runs/{run_id}/histograms/{name}")
def histogram(
    store: StoreOf,
    run_id: str,
    name: Literal["cut", "slot", "length", "pool"],
    after: int = -1,
) -> Response:
    """Figure of the choices over the updates; null when there is nothing above ``after``."""
    with store.read() as session:
        rows = scalars.read_histograms(session, run_id, name)
        last = rows[-1].step if rows else -1
        if last <= after:
            return figure_response(None, last=last)
        view = queries.run_view(session, run_id)
    counted = (choice_histogram.Row(row.step, row.counts) for row in rows)
    info = choice_histogram.prepare(counted, choice=name, names=_choice_names(view, name))
    return figure_response(choice_histogram.draw(info), last=last)


def _choice_names(view: RunView, axis: str) -> tuple[str, ...]:
    """Name what a run's method chooses among; a config of another version names nothing."""
    try:
        return read_config(view.config, view.row.slug).method.choice_names.get(axis, ())
    except ConfigError:
        return ()


@router.get("/runs/{run_id}/log")
def log(store: StoreOf, run_id: str) -> PlainTextResponse:
    """Last lines of the newest attempt's log."""
    with store.read() as session:
        path = queries.run_view(session, run_id).log_path
    return PlainTextResponse(queries.log_tail(path) if path else "")
