"""From queued rows to a group: where a run that starts from another finds its adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.recipe import RunConfig
from core.reporting import Checkpoint
from core.states import Outcome
from core.store import runs, studies, workers
from core.store.models import Run
from core.store.session import Store
from tests.store_tools import (
    attempts,
    claim,
    end,
    reasons,
    recipe,
    row,
    start,
    submit,
    succeed,
    worker,
)
from worker.active import ActiveRun
from worker.claiming import ELSEWHERE_SECONDS, Elsewhere, claim_group
from worker.protocol import Train, TrainMember, decode_down, encode


@pytest.fixture
def finished(store: Store) -> str:
    """A succeeded run whose adapter is registered at ``a/adapter``."""
    submit(store)
    run = start(store, worker(store))
    succeed(store, run)
    return run.id


def queue_from(store: Store, source: str) -> str:
    wanted = recipe()
    config = wanted.runs()[0].model_copy(update={"init_from": source})
    with store.write() as session:
        return studies.create_study(session, wanted, [config]).run_ids[0]


def claimed(store: Store, artifacts: Path) -> list[ActiveRun]:
    return claim_group(store, worker(store, "w2"), 4, artifacts)


def test_a_run_is_given_the_adapter_that_it_starts_from(
    store: Store, finished: str, tmp_path: Path
) -> None:
    adapter = tmp_path / "a" / "adapter"
    adapter.mkdir(parents=True)
    run_id = queue_from(store, finished)
    found = claimed(store, tmp_path)
    assert [run.id for run in found] == [run_id]
    assert found[0].init_from == adapter


@pytest.mark.parametrize("has_row", [True, False])
def test_a_run_whose_start_is_gone_fails_and_says_so(
    has_row: bool, store: Store, finished: str, tmp_path: Path
) -> None:
    run_id = queue_from(store, finished if has_row else "0" * 32)
    assert claimed(store, tmp_path) == []
    ended = row(store, run_id)
    assert (ended.state, ended.exit_kind) == ("failed", "bad_start")
    assert "no adapter any more" in ended.exit_detail
    assert "Start from another run" in ended.exit_detail


def test_a_run_that_continues_needs_no_start(store: Store, finished: str, tmp_path: Path) -> None:
    run_id = queue_from(store, finished)
    held = claim(store, worker(store))[0]
    with store.write() as session:
        assert runs.started(session, held.id, held.fence)
        point = Checkpoint(3, Path("run/3"), "0" * 64, 10, False)
        assert runs.register_checkpoint(session, held.id, held.fence, point)
    end(store, held, Outcome.DRAINED)
    found = claimed(store, tmp_path)
    assert [run.id for run in found] == [run_id]
    assert found[0].resume_from == tmp_path / "run/3"
    assert found[0].init_from is None


def drained_at(store: Store, host: str, log_path: str = "") -> str:
    """A queued run with a checkpoint of a worker of some host."""
    run_id = submit(store).run_ids[0]
    with store.write() as session:
        writer = workers.register(session, name="w", role="train", host=host, pid=2)
    held = claim(store, writer)[0]
    with store.write() as session:
        assert runs.started(session, held.id, held.fence, log_path=log_path)
        point = Checkpoint(3, Path("run/3"), "0" * 64, 10, False)
        assert runs.register_checkpoint(session, held.id, held.fence, point)
    end(store, held, Outcome.DRAINED)
    return run_id


@pytest.mark.parametrize(("host", "home"), [("there", ""), ("here", "/another/logs/group-1.log")])
def test_a_run_whose_checkpoint_is_on_another_machine_waits_for_it(
    host: str, home: str, store: Store, tmp_path: Path
) -> None:
    run_id = drained_at(store, host, home)
    before, mine, now = row(store, run_id), worker(store, "w2"), [0.0]
    elsewhere = Elsewhere(lambda: now[0])
    assert claim_group(store, mine, 4, tmp_path / "artifacts", elsewhere=elsewhere) == []
    after = row(store, run_id)
    assert (after.state, after.checkpoint_step) == ("queued", 3)
    assert (after.infra_left, after.not_before) == (before.infra_left, None)
    last = attempts(store, run_id)[-1]
    assert (last.outcome, last.kind) == ("drained", "not_here")
    with store.read() as session:
        for told in (last.detail, reasons(session, run_id)[0]):
            assert "STUDIO_ARTIFACTS_URL" in told
    # It is not taken again soon, and at once where its checkpoint is.
    assert claim_group(store, mine, 4, tmp_path / "artifacts", elsewhere=elsewhere) == []
    assert row(store, run_id).attempt == after.attempt
    (tmp_path / "there" / "run" / "3").mkdir(parents=True)
    now[0] += ELSEWHERE_SECONDS + 1
    found = claim_group(store, mine, 4, tmp_path / "there", elsewhere=elsewhere)
    assert [run.resume_step for run in found] == [3]


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_missing_checkpoint_of_this_machine_is_left_to_the_trainer(
    is_shared: bool, store: Store, tmp_path: Path
) -> None:
    run_id = drained_at(store, "there" if is_shared else "here")
    found = claim_group(store, worker(store, "w2"), 4, tmp_path / "artifacts", is_shared)
    assert [run.id for run in found] == [run_id]


def test_the_start_travels_to_the_trainer() -> None:
    config: RunConfig = recipe().runs()[0]
    member = TrainMember(run_id="r", config=config, folder="/f", init_from="/a/adapter")
    order = Train(group_id="g", members=(member,))
    assert decode_down(encode(order)) == order


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": {"kind": "token_shift"}}, "stop that and start it again"),
        ({"schema_version": 9}, "cannot be read by this version"),
    ],
)
def test_a_run_that_this_process_cannot_read_fails_with_the_way_out_and_holds_up_no_other(
    store: Store, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    first, second = submit(store, recipe(seeds=(0, 1))).run_ids
    with store.write() as session:
        run = session.get_one(Run, first)
        run.config = json.dumps({**json.loads(run.config), **change})
    assert [run.id for run in claimed(store, tmp_path)] == [second]
    failed = row(store, first)
    assert (failed.state, failed.exit_kind) == ("failed", "config")
    assert told in failed.exit_detail
