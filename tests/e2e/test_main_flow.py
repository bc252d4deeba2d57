"""The whole way in a real browser: from Home to a trained, compared and tried model."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.own_data import add_reviews
from tests.e2e.pictures import take_picture
from tests.live_studio import LiveStudio, live_studio

TRAINING_SECONDS = 420.0
UPDATES = 20
FEW_UPDATES = 4
BATCH = 8
TEXT = "I was charged twice for my order last week and would like my money back."

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def studio() -> Iterator[LiveStudio]:
    # Short, since a unix socket lies in it.
    with tempfile.TemporaryDirectory(prefix="dps-") as home, live_studio(Path(home)) as started:
        yield started


def runs_of(page: Page, url: str, study: str) -> list[dict[str, Any]]:
    answer = page.request.get(f"{url}/api/runs", params={"study": study, "limit": "100"})
    assert answer.ok, answer.text()
    return [row for group in answer.json()["groups"] for row in group["rows"]]


def wait_for_state(page: Page, url: str, study: str, state: str, number: int) -> None:
    deadline = time.monotonic() + TRAINING_SECONDS
    while True:
        runs = runs_of(page, url, study)
        if sum(run["state"] == state for run in runs) >= number:
            return
        failed = [run["exit_detail"] for run in runs if run["state"] == "failed"]
        assert not failed
        states = [(run["slug"], run["state"], run["last_step"]) for run in runs]
        assert time.monotonic() < deadline, states
        page.wait_for_timeout(500)


def points_of_loss(page: Page) -> int:
    script = "() => document.querySelector('[data-chart=loss]')?.data?.[0]?.x?.length ?? 0"
    return int(page.evaluate(script))


def train_briefly(page: Page, updates: int) -> None:
    """Type few updates of small batches, and wait until the preview counts them."""
    for name, value in (("batch-size", BATCH), ("max-updates", updates)):
        page.locator(f"#field-training-{name}").locator("input, textarea").fill(str(value))
    expect(page.locator("#preview-card")).to_contain_text(
        re.compile(rf"Updates a run\s*{updates}(?!\d)")
    )


def start_study(page: Page, url: str) -> str:
    """Two clicks from Home; the address then names the study."""
    page.goto(url)
    page.get_by_role("link", name=re.compile("Run your own")).click()
    button = page.locator("#queue-button")
    expect(button).to_have_text("Queue 4 runs")
    expect(page.locator("#preview-card")).to_contain_text("Parameters")
    # Shorter than the default, so that the test is; typed, so it is no click on the way.
    train_briefly(page, UPDATES)
    button.click()
    page.wait_for_url(re.compile(r"/runs\?study=\w+"))
    return page.url.split("study=")[1].split("&")[0]


def watch_a_curve_move(page: Page, url: str, study: str) -> None:
    wait_for_state(page, url, study, "running", 1)
    expect(page.locator(".group-row")).to_have_count(2)
    page.locator("[data-fold]").first.click()
    page.locator(".seed-row a").first.click()
    page.wait_for_url(re.compile(r"/run\?run=\w+"))
    page.wait_for_function(
        "() => (document.querySelector('[data-chart=loss]')?.data?.[0]?.x?.length ?? 0) > 0",
        timeout=120_000,
    )
    before = points_of_loss(page)
    page.wait_for_function(
        "n => document.querySelector('[data-chart=loss]').data[0].x.length > n",
        arg=before,
        timeout=60_000,
    )


def see_the_comparison(page: Page, url: str, study: str) -> None:
    page.goto(f"{url}/compare?study={study}")
    cells = page.locator("table.comparison tbody tr:not(.majority) td.cell")
    expect(cells).to_have_count(2)
    for place in range(2):
        expect(cells.nth(place)).to_contain_text("±")
        expect(cells.nth(place)).to_contain_text("n = 2")
    expect(page.locator("tr.majority")).to_contain_text(re.compile(r"\d+\.\d"))
    expect(page.locator("[data-chart=comparison_bars] .main-svg").first).to_be_visible()


def try_a_sentence(page: Page, url: str, methods: set[str]) -> None:
    page.goto(f"{url}/try?task=desk")
    page.locator("[data-text='0']").fill(TEXT)
    page.locator("[data-classify]").click()
    answers = page.locator("article.answer")
    expect(answers.locator(".answer-label")).to_have_count(answers.count(), timeout=60_000)
    heads = answers.locator(".answer-head h3").all_inner_texts()
    assert {head.strip() for head in heads} >= methods
    dynamic = answers.filter(has_text="adap_ins_pos").first
    expect(dynamic).to_contain_text("Probability of each cut")
    assert dynamic.locator(".sentence .vector").count() == 10
    assert dynamic.locator(".strip-bars i").count() == 11
    take_picture(page, "try")


def test_from_home_to_a_trained_compared_and_tried_model(studio: LiveStudio, page: Page) -> None:
    study = start_study(page, studio.url)
    watch_a_curve_move(page, studio.url, study)
    wait_for_state(page, studio.url, study, "succeeded", 4)
    expect(page.locator(".result")).to_contain_text("Finished")
    methods = {run["method_label"] for run in runs_of(page, studio.url, study)}
    assert len(methods) == 2
    see_the_comparison(page, studio.url, study)
    try_a_sentence(page, studio.url, methods)


def queue_with_desk(page: Page) -> str:
    """From the added data set to a queued study that has the bundled task beside it."""
    page.get_by_role("link", name="Use in a new experiment").click()
    expect(page.get_by_label("shop", exact=True)).to_be_checked()
    page.get_by_label("Desk (bundled)").check()
    page.get_by_label("Position per input · adap_ins_pos").uncheck()
    page.locator("#field-seeds-init").locator("input, textarea").fill("0")
    train_briefly(page, FEW_UPDATES)
    button = page.locator("#queue-button")
    expect(button).to_have_text("Queue 2 runs")
    button.click()
    page.wait_for_url(re.compile(r"/runs\?study=\w+"))
    return page.url.split("study=")[1].split("&")[0]


def test_an_uploaded_file_is_trained_on_and_compared_beside_another_task(
    studio: LiveStudio, page: Page
) -> None:
    version = add_reviews(page, studio.url, "shop")
    study = queue_with_desk(page)
    wait_for_state(page, studio.url, study, "succeeded", 2)
    page.goto(f"{studio.url}/compare?study={study}")
    heads = page.locator("table.comparison thead th")
    expect(heads.filter(has_text="shop")).to_have_count(1)
    expect(heads.filter(has_text="desk")).to_have_count(1)
    cells = page.locator("table.comparison tbody tr:not(.majority) td.cell")
    expect(cells).to_have_count(2)
    for place in range(2):
        expect(cells.nth(place)).to_contain_text(re.compile(r"\d+\.\d"))
    page.goto(f"{studio.url}/data?set=shop&version={version}")
    expect(page.locator(".fact", has_text="runs").locator("dd")).to_contain_text("1")
