"""What pages read stays quick with 100,000 runs and ten million points, on both databases."""

from __future__ import annotations

import json
import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.store import queries, runs
from core.store.migrate import upgrade
from core.store.session import Store
from core.store.views import RunFilters
from tests.bench.scale_reads import (
    Read,
    Statement,
    client_of,
    measure,
    percentile,
    reads_of,
    statements,
)
from tests.bench.scale_seed import SEED, Seeded, Size, seed
from tests.services import postgres_database, postgres_server
from tests.soundness import check

RESULTS = Path(__file__).parent / "results" / "scale.json"
LARGE, SMALL = Size(100, 5_000, 100_000), Size(10, 500, 10_000)
REPEATS = 40
MOST_QUERIES = 16
TIMES_SLOWER = 3.0
CURVE_POINTS = 2_500
OPEN_ONLY = re.compile(r"NOT scalar_chunks\.sealed|scalar_chunks\.sealed (?:IS|=) (?:0|false)")
CHARTS = ("curves first", "curves by cursor", "run page", "compare 50 curves", "compare 50 bars")


@dataclass(frozen=True)
class Place:
    """A seeded database."""

    store: Store
    seeded: Seeded


@contextmanager
def place_of(folder: Path, size: Size) -> Iterator[Place]:
    url = f"sqlite:///{folder / f'{size.runs}.sqlite3'}"
    upgrade(url)
    store = Store(url)
    yield Place(store, seed(store, size, datetime.now(UTC)))
    store.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of(tmp_path_factory.mktemp("large"), LARGE) as place:
        yield place


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of(tmp_path_factory.mktemp("small"), SMALL) as place:
        yield place


def sent_by(place: Place, home: Path) -> dict[str, list[Statement]]:
    """Statements of each read once what is counted once has been counted."""
    found = {}
    with client_of(place.store, home) as client:
        for read in reads_of(place.store, place.seeded):
            for _ in range(2):
                with statements() as sent:
                    measure_once(place.store, client, read)
            found[read.name] = list(sent)
    return found


def measure_once(store: Store, client: Any, read: Read) -> None:
    if read.call is not None:
        read.call(store)
    else:
        assert client.get(read.path).status_code == 200, read.path


@pytest.fixture(scope="module")
def sent(large: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Statement]]:
    return sent_by(large, tmp_path_factory.mktemp("home"))


def test_what_is_seeded_is_what_the_studio_writes(large: Place) -> None:
    with large.store.snapshot() as session:
        assert check(session) == []
        states = queries.home(session).states
    assert sum(states.values()) == LARGE.runs
    assert states["queued"] == LARGE.runs // 10
    assert 0.83 * LARGE.runs < states["succeeded"] < 0.87 * LARGE.runs
    assert large.seeded.points >= LARGE.points


def test_the_number_of_queries_is_the_same_for_ten_times_the_runs(
    sent: dict[str, list[Statement]], small: Place, tmp_path: Path
) -> None:
    few = {name: len(found) for name, found in sent_by(small, tmp_path).items()}
    many = {name: len(found) for name, found in sent.items()}
    claims = {"claim", "claim one"}
    assert {name: n for name, n in many.items() if n > few[name] and name not in claims} == {}
    assert max(n for name, n in many.items() if name not in claims) <= MOST_QUERIES


def test_no_read_goes_through_the_table_of_runs(
    sent: dict[str, list[Statement]], large: Place
) -> None:
    plans = [
        (name, plan)
        for name, found in sent.items()
        for statement in found
        for plan in plan_of(large.store, statement)
    ]
    assert any("runs USING COVERING INDEX" in plan for _, plan in plans)
    assert [item for item in plans if is_table_scan(item[1])] == []


def plan_of(store: Store, statement: Statement) -> list[str]:
    if statement.text.split()[0].upper() not in ("SELECT", "WITH"):
        return []
    with store.read() as session:
        rows = session.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters
        )
        return [row[3] for row in rows]


def is_table_scan(plan: str) -> bool:
    """Tell whether a step reads every row of a large table, not of an index alone."""
    large_table = re.match(r"SCAN (runs|run_events|attempts|artifacts|scalar_\w+)\b", plan)
    # In the order of an index and with an end that comes early, rows are read one by one.
    return bool(large_table) and "USING COVERING INDEX" not in plan


def test_claims_are_found_in_order_without_sorting(
    sent: dict[str, list[Statement]], large: Place
) -> None:
    wanted = [one for one in sent["claim"] if "ORDER BY runs.priority DESC" in one.text]
    assert len(wanted) == 2, "the first run and its partners"
    for statement in wanted:
        plan = plan_of(large.store, statement)
        assert any("ix_runs_queue" in step or "ix_runs_group" in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


def test_no_chart_reads_sealed_points(sent: dict[str, list[Statement]]) -> None:
    read = [one.text for name in CHARTS for one in sent[name] if "FROM scalar_chunks" in one.text]
    assert read
    assert [statement for statement in read if not OPEN_ONLY.search(statement)] == []


def test_long_curves_arrive_short(large: Place, tmp_path: Path) -> None:
    with large.store.read() as session:
        rows = queries.study_overview(session, large.seeded.long_study).runs
    with client_of(large.store, tmp_path) as client:
        run_id = next(run.id for run in rows if run.last_step == run.total_steps)
        curves = client.get(f"/api/runs/{run_id}/curves").json()["curves"]
        again = client.get(
            f"/api/runs/{run_id}/curves",
            params={"cursor": client.get(f"/api/runs/{run_id}/curves").json()["cursor"]},
        ).json()
    assert 1_000 < len(curves["train/loss"]["steps"]) <= CURVE_POINTS
    assert again["curves"] == {}
    assert again["reset"] is False


def test_a_list_of_ten_times_the_runs_is_hardly_slower(
    large: Place, small: Place, tmp_path: Path
) -> None:
    paths = ("/api/runs?limit=40", "/api/runs?limit=40&state=failed", "/api/runs?limit=40&q=lora")
    spent: dict[int, list[float]] = {SMALL.runs: [], LARGE.runs: []}
    with client_of(small.store, tmp_path) as few, client_of(large.store, tmp_path) as many:
        for _ in range(7):
            for size, client in ((SMALL.runs, few), (LARGE.runs, many)):
                began = time.process_time()
                for path in paths:
                    assert client.get(path).status_code == 200
                spent[size].append(time.process_time() - began)
    times = {size: percentile(found[1:], 0.5) for size, found in spent.items()}
    assert times[LARGE.runs] <= TIMES_SLOWER * times[SMALL.runs], times


def test_counts_follow_a_study_that_opens_again(small: Place) -> None:
    with small.store.read() as session:
        groups = queries.config_groups(session, RunFilters(states=("failed",))).groups
        closed = {study.id for study in queries.studies(session) if study.closed_at}
        failed = next(row for group in groups for row in group.rows if row.study_id in closed)
        before = queries.config_groups(session).states
    with small.store.write() as session:
        runs.retry(session, failed.id)
    with small.store.read() as session:
        after = queries.config_groups(session).states
        filtered = queries.config_groups(session, RunFilters(role="final")).states
    assert after["queued"] == before["queued"] + 1
    assert after["failed"] == before["failed"] - 1
    assert filtered == after


@pytest.mark.full
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_read_keeps_its_budget_at_full_size(database: str, home: Path) -> None:
    if database == "sqlite":
        measure_database(f"sqlite:///{home / 'studio.sqlite3'}", database, home)
        return
    with postgres_server() as server, postgres_database(server) as url:
        measure_database(url, database, home)


def measure_database(url: str, database: str, home: Path) -> None:
    upgrade(url)
    store, size = Store(url), Size()
    began = time.perf_counter()
    seeded = seed(store, size, datetime.now(UTC))
    found = measured(store, seeded, size, home, time.perf_counter() - began)
    store.close()
    write(database, found)
    # On a machine that others keep busy a read waits for a core; then its own work is judged.
    figure = "p95_ms" if found["load_average"] <= (os.cpu_count() or 1) else "work_ms"
    over = {
        name: (row[figure], row["budget_ms"])
        for name, row in found["reads"].items()
        if row[figure] > row["budget_ms"]
    }
    assert over == {}, figure


def measured(
    store: Store, seeded: Seeded, size: Size, home: Path, seconds: float
) -> dict[str, Any]:
    checked = check_at(store)
    with client_of(store, home) as client:
        reads = measure(store, client, reads_of(store, seeded), REPEATS)
    return {
        "seed": SEED,
        **asdict(size),
        "points_written": seeded.points,
        "seeding_seconds": round(seconds, 1),
        "database_megabytes": round(megabytes(store), 1),
        "check": checked,
        "reads": reads,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def write(database: str, found: dict[str, Any]) -> None:
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    content = json.dumps({**known, database: found}, indent=1)
    RESULTS.write_text(content + "\n", encoding="utf-8")


def check_at(store: Store) -> dict[str, float]:
    began = time.perf_counter()
    with store.snapshot() as session:
        assert check(session) == []
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(time.perf_counter() - began, 1), "peak_megabytes": round(most)}


def megabytes(store: Store) -> float:
    size = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if store.is_sqlite
        else "SELECT pg_database_size(current_database())"
    )
    with store.read() as session:
        return float(session.execute(text(size)).scalar_one()) / 1e6
