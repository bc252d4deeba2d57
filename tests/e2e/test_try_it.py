"""Try it in a real browser: tasks with several texts, joint runs, tasks that cannot be typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.store import predictions
from core.store.session import Store
from tests.integration.test_try_it_api import train, write_task
from tests.live_studio import wait_for
from tests.page_server import page_server
from tests.seeding import answer_body, new_store

pytestmark = pytest.mark.e2e
SECONDS = 20.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Runs of one task with four texts, of one that cannot be typed, and a joint one."""
    home = tmp_path_factory.mktemp("tasks")
    found = new_store(home)
    train(found, ["record"], 0.3)
    train(found, ["desk", "clauses"], 0.4, 0.9)
    train(found, [write_task(home, "copa")], 0.7)
    yield found
    found.close()


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    with page_server(Path(store.shown_url.removeprefix("sqlite:///")).parent) as found:
        yield found


def answer_next(store: Store, **changes: Any) -> predictions.PendingPrediction:
    """Answer the oldest open question as the predictor does, and return it."""
    taken: list[predictions.PendingPrediction] = []

    def take() -> bool:
        with store.write() as session:
            taken.extend(predictions.take_pending(session))
        return bool(taken)

    assert wait_for(take, SECONDS), "nobody asked"
    (pending,) = taken
    with store.write() as session:
        for run_id in (*pending.adapters, *pending.missing):
            tokens = ["[CLS]", "question", ":", "rain", "[SEP]"]
            body = answer_body(run_id, "choice2", tokens) | changes
            predictions.add_answer(session, pending.id, run_id, body)
        predictions.finish(session, pending.id)
    return pending


def test_each_text_of_a_task_has_its_box(page: Page, store: Store, address: str) -> None:
    page.goto(f"{address}/try?task=copa")
    added = {"added": [True, True, True, False, True], "probabilities": {"choice2": 1.0}}
    answer_next(store, **added)
    expect(page.locator(".token.added")).to_have_text(["[CLS]", "question", ":", "[SEP]"])
    page.get_by_label("Premise").fill("It rained.")
    page.get_by_label("Question").select_option("effect")
    page.get_by_label("Choice 1").fill("He was dry.")
    page.get_by_label("Choice 2").fill(" ")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert")).to_contain_text("Still empty: Choice 2.")
    page.get_by_label("Choice 2").fill("He was wet.")
    page.keyboard.press("Enter")
    asked = answer_next(store, **added)
    assert asked.texts == ("It rained.", "effect", "He was dry.", "He was wet.")
    assert asked.task == "copa"
    card = page.locator("article.answer")
    expect(card.locator(".answer-label")).to_contain_text("Choice 2")
    expect(card.locator(".chosen-text")).to_have_text("He was wet.")
    # The address brings all texts back.
    page.reload()
    assert answer_next(store).texts == asked.texts
    expect(page.get_by_label("Choice 2")).to_have_value("He was wet.")


def test_a_joint_run_is_asked_as_the_chosen_task(page: Page, store: Store, address: str) -> None:
    page.goto(f"{address}/try?task=desk")
    assert answer_next(store, label="billing").task == "desk"
    expect(page.locator("article.answer")).to_contain_text("joint with clauses")
    page.locator("select[data-task]").select_option("clauses")
    expect(page.get_by_label("First text")).not_to_have_value("")
    page.get_by_role("button", name="Classify").click()
    asked = answer_next(store, label="billing")
    assert (asked.task, len(asked.texts)) == ("clauses", 2)


def test_the_prompt_is_drawn_at_its_place_inside_the_text(
    page: Page, store: Store, address: str
) -> None:
    slots = ["front", "50 %", "border", "end"]
    choices = [
        {"axis": "slot", "chosen": 1, "names": slots, "probabilities": [0.2, 0.5, 0.2, 0.1]},
        {"axis": "length", "chosen": 1, "names": ["1", "2", "3"], "probabilities": [0, 0.9, 0.1]},
    ]
    page.goto(f"{address}/try?task=desk")
    answer_next(store, label="billing", pieces=[[2, 2]], choices=choices)
    card = page.locator("article.answer").first
    expect(card.locator(".sentence > *")).to_have_text(
        ["[CLS]", "question", "p1", "p2", ":", "rain", "[SEP]"]
    )
    expect(card).to_contain_text("2 prompt vectors inside the text, behind “question”")
    expect(card).to_contain_text("2 of 3 vectors used")
    expect(card.get_by_role("img", name="place 50 % with 50.0 percent")).to_be_visible()
    expect(card.get_by_role("img", name="length 2 with 90.0 percent")).to_be_visible()
    expect(card.locator(".strip-ends").first.locator("span")).to_have_text(slots)


def test_an_answer_of_the_earlier_form_is_drawn_too(page: Page, store: Store, address: str) -> None:
    page.goto(f"{address}/try?task=desk")
    before = {"prompt_before": 1, "prompt_after": 2, "cut_probabilities": [0.1, 0.6, 0.2, 0.1]}
    answer_next(store, label="billing", pieces=None, choices=None, **before)
    card = page.locator("article.answer").first
    expect(card.locator(".sentence > *")).to_have_text(
        ["[CLS]", "p1", "question", ":", "rain", "p2", "p3", "[SEP]"]
    )
    expect(card).to_contain_text("1 prompt vector before the text, 2 after it")
    expect(card.get_by_role("img", name="cut 1 with 60.0 percent")).to_be_visible()


def test_what_cannot_be_typed_says_why(page: Page, store: Store, address: str) -> None:
    page.goto(f"{address}/try?task=record")
    expect(page.get_by_text("An input of ReCoRD cannot be typed")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Classify")).to_have_count(0)


def test_what_all_runs_say_against_the_texts_is_said_once(
    page: Page, store: Store, address: str
) -> None:
    train(store, ["desk"], 0.5, methods=["linear_probe"])
    page.goto(f"{address}/try?task=desk")
    answer_next(store)
    page.get_by_text("Runs 1 of 2 chosen").click()
    for box in page.locator("[data-run]").all():
        box.check()
    page.get_by_role("button", name="Classify").click()
    answer_next(store, error="WiC: 'bank' does not occur in sentence2.")
    expect(page.get_by_text("'bank' does not occur")).to_have_count(1)
