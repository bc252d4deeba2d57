"""What pages read, as routes of the application and as the worker's claim, and how to time it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from sqlalchemy import Engine, event, exists, make_url, select
from starlette.testclient import TestClient

from app import api
from app.__main__ import keep_out_of_collections
from app.api._errors import add_error_handlers
from core.registry import discover
from core.settings import Settings
from core.store import runs, scalars
from core.store.history import step_times
from core.store.models import DEFAULT_QUEUE, Run, Study
from core.store.session import Store
from core.store.waiting import ready, suits
from tests.bench.scale_seed import Seeded

PAGE = 40
LIST_MS, SEARCH_MS, RUN_MS, HOME_MS = 150, 300, 300, 150
COMPARE_20_MS, COMPARE_50_MS, CLAIM_MS, TRY_MS = 500, 1000, 50, 300


@dataclass(frozen=True)
class Read:
    """One read of a page.

    Attributes:
        name: For the results.
        path: Route, or empty where ``call`` is timed.
        budget: Milliseconds that its 95th percentile may take; 0: none is set.
        call: What is timed instead of a route; returns rows.
    """

    name: str
    path: str = ""
    budget: int = 0
    call: Callable[[Store], int] | None = None


@dataclass
class Statement:
    """One statement that was sent to the database, with its parameters."""

    text: str
    parameters: Any = field(repr=False)


@contextmanager
def client_of(store: Store, home: Path) -> Iterator[TestClient]:
    """The application's routes over a store, without its pages."""
    app = FastAPI()
    app.state.store, app.state.settings = store, Settings(home=home, offline=True)
    add_error_handlers(app)
    for router in discover(api, "router").values():
        app.include_router(router, prefix="/api")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Gather what is sent to any database meanwhile."""
    found: list[Statement] = []

    def note(*arguments: Any) -> None:
        found.append(Statement(str(arguments[2]), arguments[3]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def percentile(values: Sequence[float], share: float) -> float:
    """Smallest value that at least a share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def reads_of(store: Store, seeded: Seeded) -> list[Read]:
    """List every read that pages do."""
    with store.read() as session:
        done = session.get(Run, seeded.succeeded)
        assert done is not None
        study = session.get(Study, done.study_id)
        assert study is not None
        slug = f"S{study.number}-{done.ordinal}"
    run = f"/api/runs/{seeded.succeeded}"
    runs_of = f"/api/runs?limit={PAGE}"
    cursor = quote(scalars.Cursor(0, {"train/loss": 3}).encode())
    compare = f"study={seeded.long_study}"
    return [
        Read("home", "/api/home", HOME_MS),
        Read("chip", "/api/status", HOME_MS),
        Read("runs first page", runs_of, LIST_MS),
        Read("runs page 100", f"{runs_of}&offset={PAGE * 99}", LIST_MS),
        Read("runs page 500", f"{runs_of}&offset={PAGE * 499}", LIST_MS),
        Read("runs of a study", f"{runs_of}&study={seeded.usual_study}", LIST_MS),
        Read("runs of a task", f"{runs_of}&task=rte", LIST_MS),
        Read("runs of a method", f"{runs_of}&method=lora", LIST_MS),
        Read("runs of a method kind", f"{runs_of}&method=dynamic_prompt", LIST_MS),
        Read("runs failed", f"{runs_of}&state=failed", LIST_MS),
        Read("runs running", f"{runs_of}&state=running", LIST_MS),
        Read("runs succeeded", f"{runs_of}&state=succeeded", LIST_MS),
        Read("runs trials", f"{runs_of}&role=trial", LIST_MS),
        Read("runs task method state", f"{runs_of}&task=cb&method=lora&state=failed", LIST_MS),
        Read("search study", f"{runs_of}&q={quote(study.name[-9:])}", SEARCH_MS),
        Read("search common word", f"{runs_of}&q=position", SEARCH_MS),
        Read("search method", f"{runs_of}&q=lora", SEARCH_MS),
        Read("search short name", f"{runs_of}&q={slug}", SEARCH_MS),
        Read("search id", f"{runs_of}&q={seeded.succeeded}", SEARCH_MS),
        Read("search letter", f"{runs_of}&q=s", SEARCH_MS),
        Read("search nothing", f"{runs_of}&q=no+such+thing", SEARCH_MS),
        Read("run page", run, RUN_MS),
        Read("run page by name", f"/api/runs/{slug}", RUN_MS),
        Read("run page queued last", f"/api/runs/{seeded.queued}", RUN_MS),
        Read("run page running", f"/api/runs/{seeded.running}", RUN_MS),
        Read("curves first", f"{run}/curves", RUN_MS),
        Read("curves by cursor", f"/api/runs/{seeded.running}/curves?cursor={cursor}", RUN_MS),
        Read("run log", f"{run}/log", RUN_MS),
        Read("compare 50 runs", f"/api/compare?{compare}", COMPARE_50_MS),
        Read("compare 50 curves", f"/api/compare/charts/learning_curve?{compare}", COMPARE_50_MS),
        Read("compare 50 bars", f"/api/compare/charts/comparison_bars?{compare}", COMPARE_50_MS),
        Read("compare 50 export", f"/api/compare.csv?{compare}", COMPARE_50_MS),
        Read("compare 20 runs", f"/api/compare?study={seeded.usual_study}", COMPARE_20_MS),
        Read("compare newest", "/api/compare", COMPARE_50_MS),
        Read("try it", "/api/playground", TRY_MS),
        Read("data", "/api/data", LIST_MS),
        Read("data set", "/api/data/sets/desk", LIST_MS),
        Read("studies", "/api/studies?limit=200", LIST_MS),
        Read("study", f"/api/studies/{seeded.long_study}", LIST_MS),
        Read("estimates", call=_estimates, budget=LIST_MS),
        Read("claim", call=claim_of(seeded.worker, 4), budget=CLAIM_MS),
        Read("claim one", call=claim_of(seeded.worker, 1), budget=CLAIM_MS),
        Read("claim waits", call=_waits, budget=CLAIM_MS),
    ]


def _estimates(store: Store) -> int:
    with store.read() as session:
        return len(step_times(session))


def _waits(store: Store) -> int:
    with store.read() as session:
        wanted = (*ready(), *suits((DEFAULT_QUEUE,), 0), Run.priority > 0)
        return int(bool(session.scalar(select(exists().where(*wanted)))))


def claim_of(worker: str, limit: int) -> Callable[[Store], int]:
    """Make a call that claims runs."""

    def call(store: Store) -> int:
        with store.write() as session:
            return len(runs.claim(session, worker, limit))

    return call


def measure(
    store: Store, client: TestClient, reads: Sequence[Read], repeats: int
) -> dict[str, dict[str, Any]]:
    """Time each read; a first, cold time is told on its own.

    Returns:
        By name: p50, p95 and cold in milliseconds, the mean CPU time of application and database
        together (``work_ms``), queries, rows and kilobytes of the answer.
    """
    found: dict[str, dict[str, Any]] = {}
    keep_out_of_collections()
    for read in reads:
        times = []
        for repeat in range(repeats + 1):
            if repeat == 1:
                worked = work_seconds(store)
            with statements() as sent:
                began = time.perf_counter()
                size, rows = _do(store, client, read)
                times.append(1000 * (time.perf_counter() - began))
        found[read.name] = {
            "p50_ms": round(percentile(times[1:], 0.5), 1),
            "p95_ms": round(percentile(times[1:], 0.95), 1),
            "work_ms": round(1000 * (work_seconds(store) - worked) / repeats, 1),
            "cold_ms": round(times[0], 1),
            "budget_ms": read.budget,
            "queries": sum(one.text.lstrip()[:6].upper() == "SELECT" for one in sent),
            "rows": rows,
            "kilobytes": round(size / 1000, 1),
        }
    return found


def work_seconds(store: Store) -> float:
    """CPU time of this process, and of the PostgreSQL server of ``tests.services`` behind it."""
    own = time.process_time()
    if store.is_sqlite:
        return own
    folder = make_url(store.url).query["host"]
    server = (Path(str(folder)) / "data" / "postmaster.pid").read_text(encoding="utf-8")
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == server.splitlines()[0]:
            ticks += int(fields[11]) + int(fields[12])
    return own + ticks / os.sysconf("SC_CLK_TCK")


def _do(store: Store, client: TestClient, read: Read) -> tuple[int, int]:
    if read.call is not None:
        return 0, read.call(store)
    answer = client.get(read.path)
    assert answer.status_code == 200, (read.path, answer.text[:500])
    if not answer.headers["content-type"].startswith("application/json"):
        return len(answer.content), 0
    return len(answer.content), _rows(answer.json())


def _rows(content: Any) -> int:
    """Count what a page shows: runs of groups, of tasks or of a table, points, or entries."""
    if not isinstance(content, Mapping):
        return len(content) if isinstance(content, list) else 0
    if "groups" in content:
        return sum(len(group["rows"]) for group in content["groups"])
    if "curves" in content:
        return sum(len(curve["steps"]) for curve in content["curves"].values())
    if content.get("rows") and "cells" in content["rows"][0]:
        cells = (cell for row in content["rows"] for cell in row["cells"] if cell)
        return sum(len(cell["runs"]) for cell in cells)
    if "data" in content:
        return sum(len(trace.get("x") or ()) for trace in content["data"])
    if isinstance(content.get("tasks"), list):
        return sum(len(task.get("runs", ())) for task in content["tasks"] if isinstance(task, dict))
    runs_of = content.get("runs")
    return len(runs_of) if isinstance(runs_of, list) else 0
