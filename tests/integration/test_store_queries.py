"""What pages read: filters, folding, order, and no query per run."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from core.states import Outcome, RunState
from core.store import queries, runs, studies
from core.store.attempts import attempts
from core.store.models import Run
from core.store.query_rows import first_metric
from core.store.session import Store
from core.store.views import RunFilters
from tests.store_tools import checkpoint, end, recipe, start, submit, succeed, worker


@pytest.fixture
def house(store: Store) -> Store:
    """Two studies: the first with a success, a failure, one in training and one that waits."""
    submit(store, recipe(("prompt_tuning", "adap_ins_pos"), seeds=(0, 1)))
    submit(store, recipe(("linear_probe",), name="Second"), is_demo=True, priority=-10)
    mine = worker(store)
    succeed(store, start(store, mine), 0.8)
    end(store, start(store, mine), Outcome.FAILED, kind="diverged", detail="The loss became NaN.")
    run = start(store, mine, step=25)
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(20))
    return store


def test_home_shows_what_runs_waits_and_needs_attention(house: Store) -> None:
    with house.read() as session:
        home = queries.home(session)
    assert home.states == {"succeeded": 1, "failed": 1, "running": 1, "queued": 2}
    assert [(run.slug, run.seconds_left, run.share_done) for run in home.active] == [
        ("S1-3", 37.5, 0.25)
    ]
    assert [(run.slug, run.queue_position) for run in home.waiting] == [("S1-4", 1), ("S2-1", 2)]
    assert [run.exit_detail for run in home.attention] == ["The loss became NaN."]
    assert [run.dev for run in home.finished] == [{"accuracy": 0.8}]
    assert home.demo is not None
    assert home.demo.slug == "S2"
    assert home.workers[0].run_ids == (home.active[0].id,)


@pytest.mark.parametrize(
    ("filters", "slugs"),
    [
        (RunFilters(), ["S2-1", "S1-1", "S1-2", "S1-3", "S1-4"]),
        (RunFilters(demo=False, states=("queued",)), ["S1-4"]),
        (RunFilters(methods=("adap_ins_pos",)), ["S1-3", "S1-4"]),
        (RunFilters(methods=("dynamic_prompt",)), ["S1-3", "S1-4"]),
        (RunFilters(text="second"), ["S2-1"]),
        (RunFilters(text="s1-2"), ["S1-2"]),
        (RunFilters(text="100%"), []),
        (RunFilters(tasks=("cb",)), []),
    ],
)
def test_filters(house: Store, filters: RunFilters, slugs: list[str]) -> None:
    with house.read() as session:
        page = queries.config_groups(session, filters)
    assert page.num_runs == len(slugs)
    assert [run.slug for group in page.groups for run in group.rows] == slugs
    assert page.methods == ("adap_ins_pos", "linear_probe", "prompt_tuning")


def test_pages_of_the_list(house: Store) -> None:
    with house.read() as session:
        folded = queries.config_groups(session, limit=1, offset=1)
    assert (folded.num_runs, folded.total) == (5, 3)
    assert [run.slug for run in folded.groups[0].rows] == ["S1-1", "S1-2"]


def test_a_run_page_has_everything(house: Store) -> None:
    with house.read() as session:
        running = queries.run_view(session, "S1-3")
        waiting = queries.run_view(session, "s2-1")
        done = queries.run_view(session, "S1-1")
        tried = attempts(session, running.row.id)
    assert [saved.step for saved in running.checkpoints] == [20]
    assert [attempt.worker_name for attempt in tried] == ["w1"]
    assert running.worker is not None
    assert running.worker.name == "w1"
    assert [told.after for told in running.events] == ["running", "starting", "queued"]
    assert waiting.row.queue_position == 2
    assert done.artifacts == {"adapter": "a/adapter"}
    assert done.row.state is RunState.SUCCEEDED


JOINT = {
    "dev": {"joint_mean": 0.6},
    "test": {"joint_mean": 0.5},
    "flags": [],
    "tasks": {
        "cb": {"dev": {"accuracy": 0.7}, "test": {"accuracy": 0.6}, "updates": 40},
        "rte": {
            "dev": {"accuracy": 0.5},
            "test": {"accuracy": 0.4},
            "extra": {"ax-b": {"matthews": 0.1}},
            "updates": 60,
        },
    },
}


@pytest.mark.parametrize(
    ("task", "dev", "metric"),
    [
        ("cb", {"accuracy": 0.7, "macro_f1": 0.5}, "accuracy"),
        ("record", {"record_em": 0.3, "record_f1": 0.4}, "record_f1"),
        ("reviews", {"macro_f1": 0.5, "accuracy": 0.7}, "accuracy"),
        # A folder of one's own may bear the name of a known task.
        ("record", {"accuracy": 0.7}, "accuracy"),
        ("cb+rte", {"joint_mean": 0.6}, "joint_mean"),
        ("cb", {}, ""),
    ],
)
def test_the_number_of_a_list_is_the_one_that_chose_the_checkpoint(
    task: str, dev: dict[str, float], metric: str
) -> None:
    assert first_metric(task, dev) == metric


def test_a_joint_run_shows_its_mean_and_seals_every_task(house: Store) -> None:
    wanted = recipe(tasks=["desk", "clauses"], regimes=["multi_task"], name="Joint")
    first = submit(house, wanted, priority=5).run_ids[0]
    assert end(house, start(house, worker(house)), Outcome.SUCCEEDED, result=JOINT)
    with house.write() as session:
        sealed = queries.run_view(session, first)
        studies.open_test(session, sealed.study.id)
        opened = queries.run_view(session, first)
    assert (sealed.row.task, sealed.row.metric, sealed.row.score) == (
        "desk+clauses",
        "joint_mean",
        0.6,
    )
    assert "0.4" not in str(sealed.result)
    assert sealed.result["tasks"]["rte"] == {"dev": {"accuracy": 0.5}, "updates": 60}
    assert opened.result == JOINT


def test_sets_scored_at_the_end_are_sealed_like_test(house: Store) -> None:
    (run_id,) = submit(house, recipe(name="Extra"), priority=5).run_ids
    result = {"dev": {"accuracy": 0.8}, "extra": {"ax-g": {"gender_parity": 0.9}}, "flags": []}
    with house.write() as session:
        session.get_one(Run, run_id).result = result
        view = queries.run_view(session, run_id)
    assert view.result == {"dev": {"accuracy": 0.8}, "flags": []}


def test_the_playground_lists_succeeded_runs(house: Store) -> None:
    with house.read() as session:
        (run,) = queries.playground_runs(session)
    assert (run.slug, run.adapter, run.dev) == ("S1-1", "a/adapter", {"accuracy": 0.8})


@pytest.mark.parametrize(
    "query",
    [queries.home, queries.config_groups, queries.comparison, queries.events],
)
def test_the_number_of_queries_does_not_grow_with_the_runs(house: Store, query: object) -> None:
    def count() -> int:
        statements: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
            statements.append(statement)

        with house.read() as session:
            engine = session.get_bind()
            event.listen(engine, "before_cursor_execute", note)
            query(session)  # type: ignore[operator]
            event.remove(engine, "before_cursor_execute", note)
        return len(statements)

    few = count()
    submit(house, recipe(("prompt_tuning", "linear_probe"), seeds=range(20)))
    assert count() == few <= 13
