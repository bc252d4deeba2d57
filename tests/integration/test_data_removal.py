"""Deleting a version of a data set against queueing runs that read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import actions
from app.preview import preview
from app.submission import prepare_runs
from core.data.library import add_dataset, remove_dataset
from core.data.own.model import ColumnMapping
from core.errors import DataError, RecipeErrors
from core.recipe import Recipe, RunConfig
from core.settings import Settings
from core.store import queries
from core.store.datasets import hold_runs
from core.store.session import Store
from tests.small_studies import new_store, recipe

PATIENCE_SECONDS = 30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", offline=True)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    found = new_store(settings)
    yield found
    found.close()


@pytest.fixture
def version(tmp_path: Path, settings: Settings) -> str:
    path = tmp_path / "reviews.csv"
    body = "".join(f"review {i},{'xyz'[i % 3]}\n" for i in range(60))
    path.write_text(f"text,label\n{body}")
    mapping = ColumnMapping(("text",), "label")
    added = add_dataset("reviews", {"train": path}, mapping, settings.datasets_path)
    return added.dataset.card.version


def num_runs(store: Store) -> int:
    with store.read() as session:
        return sum(queries.home(session).states.values())


def submit(store: Store, settings: Settings, version: str) -> None:
    tasks = [{"name": "desk"}, {"name": "reviews", "dataset": version}]
    actions.submit_recipe(store, recipe(("prompt_tuning",), tasks=tasks), settings=settings)


def test_runs_prepared_before_a_deletion_are_refused_after_it(
    store: Store, settings: Settings, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_prepared = threading.Event()

    def prepared(wanted: Recipe, found: Settings, database: Store | None) -> list[RunConfig]:
        configs = prepare_runs(wanted, found, database)
        is_prepared.set()
        return configs

    monkeypatch.setattr(actions, "prepare_runs", prepared)
    with ThreadPoolExecutor(1) as pool:

        @contextmanager
        def meanwhile_submitted(name: str, version: str) -> Iterator[int]:
            with hold_runs(store, name, version) as count:
                submissions.append(pool.submit(submit, store, settings, version))
                assert is_prepared.wait(PATIENCE_SECONDS)
                yield count

        submissions: list[Future[None]] = []
        remove_dataset("reviews", version, settings.datasets_path, meanwhile_submitted)
        (submission,) = submissions
        with pytest.raises(RecipeErrors) as caught:
            submission.result(PATIENCE_SECONDS)
    (problem,) = caught.value.problems
    assert problem.field == "tasks.1"
    assert "no data set 'reviews'" in problem.message
    assert num_runs(store) == 0
    assert not list(settings.datasets_path.iterdir())


def test_a_preview_warns_of_nothing_that_adding_only_noted(
    settings: Settings, version: str
) -> None:
    tasks = [{"name": "reviews", "dataset": version}]
    told = preview(recipe(tasks=tasks), None, settings).warnings
    assert not [text for text in told if text.startswith("reviews:")]


def test_a_deletion_after_queueing_finds_the_runs(
    store: Store, settings: Settings, version: str
) -> None:
    submit(store, settings, version)
    assert num_runs(store) > 0
    with pytest.raises(DataError, match="runs use it"):
        remove_dataset(
            "reviews",
            version,
            settings.datasets_path,
            lambda name, version: hold_runs(store, name, version),
        )
    assert (settings.datasets_path / "reviews" / version / "train.jsonl").is_file()
