"""Predictions: handed out once, answered by cursor, superseded, forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.errors import NotFound
from core.store import predictions
from core.store.session import Store
from tests.store_tools import start, submit, succeed, worker


def ask(store: Store, *run_ids: str, key: str = "browser") -> str:
    with store.write() as session:
        return predictions.create_prediction(session, ["a text"], run_ids, key)


def take(store: Store) -> list[predictions.PendingPrediction]:
    with store.write() as session:
        return predictions.take_pending(session)


def test_the_predictor_gets_adapters_and_learns_which_runs_have_none(store: Store) -> None:
    study = submit(store)
    run = start(store, worker(store))
    succeed(store, run)
    ask(store, study.run_ids[0], "unknown")
    (work,) = take(store)
    assert work.adapters == {run.id: "a/adapter"}
    assert work.missing == ("unknown",)
    assert work.texts == ("a text",)
    assert take(store) == []


def test_answers_arrive_by_cursor_and_once(store: Store) -> None:
    key = ask(store, "r1", "r2")
    take(store)
    with store.write() as session:
        assert predictions.add_answer(session, key, "r1", {"label": "x", "p": float("nan")})
        assert predictions.add_answer(session, key, "r1", {"label": "y"})
    with store.read() as session:
        first = predictions.read_answers(session, key)
    assert [answer.body for answer in first.answers] == [{"label": "x", "p": None}]
    assert not first.is_ended
    with store.write() as session:
        predictions.add_answer(session, key, "r2", {"label": "z"})
        assert predictions.finish(session, key)
        assert not predictions.finish(session, key, "too late")
    with store.read() as session:
        rest = predictions.read_answers(session, key, first.cursor)
    assert [answer.run_id for answer in rest.answers] == ["r2"]
    assert (rest.is_ended, rest.state, rest.error) == (True, "done", "")


def test_a_new_text_supersedes_the_earlier_one_of_the_same_browser(store: Store) -> None:
    old, other = ask(store, "r1"), ask(store, "r1", key="other")
    new = ask(store, "r1")
    assert {work.id for work in take(store)} == {other, new}
    with store.write() as session:
        assert not predictions.is_wanted(session, old)
        assert predictions.is_wanted(session, new)
        assert not predictions.add_answer(session, old, "r1", {})


def test_predictions_are_forgotten(store: Store) -> None:
    key = ask(store, "r1")
    with store.write() as session:
        predictions.add_answer(session, key, "r1", {})
        assert predictions.expire_predictions(session) == 0
        assert predictions.expire_predictions(session, timedelta(0)) == 1
    with store.read() as session, pytest.raises(NotFound, match="kept for a day"):
        predictions.read_answers(session, key)
