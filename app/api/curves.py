"""One run: everything of its page, curves by cursor, chosen cuts, and the end of its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from app.api._figure import figure_response
from app.api._parts import SettingsOf, StoreOf, as_json
from app.attempt_logs import attempt_text
from app.audit_words import MEANING, bars, described
from app.outcome_words import attempt_title, ended_by
from app.right_slots import slots_by_place
from app.run_words import about
from core.errors import ConfigError, NotFound
from core.metrics import TITLES
from core.metrics.flags import FLAGS
from core.plots import audit_bars, choice_histogram
from core.store import queries, scalars
from core.store.attempts import AttemptLine, attempt_log, attempts
from core.store.query_rows import find_run_id
from core.store.views import RunView
from core.stored_config import read_config
from core.tuning import selecting_metric

router = APIRouter(tags=["runs"])
MAX_NAMES = 20
Text = Annotated[str, Query(max_length=4000)]


@router.get("/runs/{run_id}")
def run(store: StoreOf, run_id: str) -> dict[str, Any]:
    """Everything of one run's page but its curves, by id or short name."""
    with store.read() as session:
        view = queries.run_view(session, run_id)
        tried = attempts(session, view.row.id)
    return run_body(view, tried)


def run_body(view: RunView, tried: Sequence[AttemptLine]) -> dict[str, Any]:
    """Describe a run for the browser: its row, its config, its attempts, and words for them."""
    body: dict[str, Any] = as_json(view)
    body["attempts"] = [
        {**as_json(one), "title": attempt_title(one.outcome, one.kind)} for one in tried
    ]
    # Pauses between attempts are no work, and neither is the wait for a worker.
    body["seconds_at_work"] = sum(one.seconds for one in tried)
    body["audit"] = as_json(described(view.result.get("audit") or ()))
    body["audit_meaning"] = MEANING
    body["ended"] = as_json(ended_by(view.row.exit_kind)) if view.row.exit_kind else None
    try:
        config = read_config(view.config, view.row.slug)
    except ConfigError as error:
        # A run of another version still has curves, events and a log to look at.
        body["config"], body["sentence"] = json.loads(view.config), str(error)
        body["about"], body["criterion"] = [], view.row.metric
    else:
        body["config"] = config.model_dump(mode="json")
        body["sentence"] = config.method.describe() + config.backbone.answers
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


@router.get("/runs/{run_id}/audit/{place}")
def audit(store: StoreOf, run_id: str, place: int) -> Response:
    """Figure of one axis of a run's audit, counted from 0; null where there is none."""
    with store.read() as session:
        view = queries.run_view(session, run_id)
    found = described(view.result.get("audit") or ())
    if not 0 <= place < len(found):
        return figure_response(None)
    one = found[place]
    info = audit_bars.prepare(
        bars(one), x_title=TITLES.get(one.metric, one.metric), method=view.row.method_label
    )
    return figure_response(audit_bars.draw(info))


def _choice_names(view: RunView, axis: str) -> tuple[str, ...]:
    """Name what a run's method chooses among; a config of another version names nothing."""
    try:
        return read_config(view.config, view.row.slug).method.choice_names.get(axis, ())
    except ConfigError:
        return ()


@router.get("/runs/{run_id}/places")
def places(store: StoreOf, settings: SettingsOf, run_id: str) -> dict[str, Any] | None:
    """Slots that a run took on dev by the right place; null where no right place is known."""
    with store.read() as session:
        view = queries.run_view(session, run_id)
    found = slots_by_place(view, settings)
    return None if found is None else as_json(found)


@router.get("/runs/{run_id}/log")
def log(store: StoreOf, settings: SettingsOf, run_id: str) -> PlainTextResponse:
    """Last lines of the newest attempt's log; empty before the first attempt."""
    with store.read() as session:
        found = find_run_id(session, run_id)
        tried = attempts(session, found)
        kept = attempt_log(session, found, tried[-1].attempt) if tried else None
    return PlainTextResponse(attempt_text(kept, settings) if kept else "")


@router.get("/runs/{run_id}/attempts/{attempt}/log")
def log_of_attempt(
    store: StoreOf, settings: SettingsOf, run_id: str, attempt: int
) -> PlainTextResponse:
    """Last lines of an attempt's log; empty when they were not kept."""
    with store.read() as session:
        kept = attempt_log(session, find_run_id(session, run_id), attempt)
    return PlainTextResponse(attempt_text(kept, settings))
