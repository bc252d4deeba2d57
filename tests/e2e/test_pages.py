"""Home, New experiment and Runs in a real browser, against a real server process, no worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app import actions
from core.settings import Settings
from core.store.session import Store
from tests.page_server import page_server
from tests.small_studies import finish, full_house, new_store, recipe, worker

pytestmark = pytest.mark.e2e

NARROW = {"width": 390, "height": 800}


@dataclass(frozen=True)
class Site:
    """A server process over a filled home folder."""

    address: str
    store: Store
    ids: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("pages")
    settings = Settings(home=home)
    store = new_store(settings)
    ids = full_house(store, settings)
    try:
        with page_server(home) as address:
            yield Site(address, store, ids)
    finally:
        store.close()


def test_two_clicks_from_home_to_a_queued_study(site: Site, page: Page) -> None:
    page.goto(site.address)
    expect(page.get_by_text("Position or vectors?")).to_be_visible()
    page.get_by_role("link", name=re.compile("Run your own")).click()
    page.get_by_role("button", name="Queue 4 runs").click()
    page.wait_for_url("**/runs?study=*")
    expect(
        page.get_by_role("heading", name="prompt_tuning and adap_ins_pos on desk")
    ).to_be_visible()
    expect(page.locator(".state-queued")).to_have_count(2)


def test_a_problem_stands_at_its_field_and_goes_when_mended(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    batch = page.get_by_label("Batch size")
    batch.fill("0")
    note = page.locator("#field-training-batch-size .studio-field-error")
    expect(note).to_have_text(re.compile("must be at least 1, got 0"))
    expect(page.get_by_role("button", name="Queue runs")).to_be_disabled()
    batch.fill("8")
    expect(note).to_have_count(0)
    expect(page.get_by_role("button", name="Queue 4 runs")).to_be_enabled()


def test_the_draft_survives_a_reload_and_starts_over_on_request(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    page.locator("#field-seeds-init textarea").fill("0-2")
    expect(page.get_by_role("button", name="Queue 6 runs")).to_be_visible()
    page.wait_for_function("Object.keys(localStorage).some((key) => key.includes('studio-draft'))")
    page.reload()
    expect(page.get_by_role("button", name="Queue 6 runs")).to_be_visible()
    expect(page.locator("#field-seeds-init textarea")).to_have_value("0-2")
    note = page.locator("#draft-note")
    expect(note).to_contain_text("Draft restored")
    note.get_by_role("button", name="Start over").click()
    expect(note).not_to_contain_text("Draft restored")
    expect(page.get_by_role("button", name="Queue 4 runs")).to_be_visible()


def test_a_page_may_be_left_while_it_still_asks(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    seeds = page.locator("#field-seeds-init textarea")
    expect(seeds).to_be_visible()
    with page.expect_request("**/queue/data*"):
        seeds.fill("0-2")
    page.goto(f"{site.address}/queue")
    expect(page.get_by_role("heading", name="Queue", exact=False).first).to_be_visible()


def test_a_pasted_recipe_fills_the_form_or_tells_its_problems(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    page.get_by_role("tab", name="Recipe as YAML").click()
    text = page.get_by_label("Recipe", exact=True)
    text.fill("name: pasted\ntasks: [desk]\nmethods: [adap_pos]\nbudget: 3\n")
    page.get_by_role("button", name="Load into the form").click()
    expect(page.get_by_text("unknown key; known: name, question")).to_be_visible()
    text.fill("name: pasted\ntasks: [desk]\nmethods: [adap_pos]\nseeds: {init: [0, 1, 2]}\n")
    page.get_by_role("button", name="Load into the form").click()
    expect(page.get_by_role("button", name="Queue 3 runs")).to_be_visible()
    expect(page.get_by_label("Name of the study")).to_have_value("pasted")


def test_the_settings_of_papers_wait_behind_a_line(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    page.get_by_role("tab", name="Recipe as YAML").click()
    expect(page.get_by_role("link", name="cb-quick", exact=True)).to_be_visible()
    published = page.get_by_role("link", name="LoRA as released, RTE, RoBERTa large")
    expect(published).to_have_count(0)
    page.get_by_text("settings of papers and their code").click()
    published.click()
    expect(page.get_by_label("Recipe", exact=True)).to_have_value(
        re.compile("What differs here(.|\n)*roberta")
    )


def test_own_data_is_checked_while_it_is_entered(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    page.get_by_role("button", name="Own data or model").click()
    page.locator("#field-own-folder textarea").fill("/no/such/folder")
    queue = page.get_by_role("button", name="Queue runs")
    name = page.locator("#field-own-name .studio-field-error")
    expect(name).to_contain_text("needs a name")
    expect(queue).to_be_disabled()
    page.locator("#field-own-name textarea").fill("mine")
    folder = page.locator("#field-own-folder .studio-field-error")
    expect(folder).to_contain_text("there is no folder /no/such/folder")
    expect(queue).to_be_disabled()
    expect(page.get_by_text("Ready", exact=True)).to_have_count(0)


def test_the_settings_of_a_regime_stand_there_only_when_it_is_chosen(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.address}/new")
    expect(page.get_by_role("button", name="Queue 4 runs")).to_be_visible()
    shots = page.locator("#field-few-shot-k")
    sampling = page.locator("#field-multi-task-sampling")
    expect(shots).not_to_be_visible()
    expect(sampling).not_to_be_visible()
    page.get_by_label("Few-shot", exact=True).check()
    expect(shots).to_be_visible()
    page.get_by_role("button", name="Use 5 draws × 2 initial weights").click()
    # Two regimes, two methods, five draws by two initial weights.
    expect(page.get_by_role("button", name="Queue 40 runs")).to_be_enabled()
    page.get_by_label("Multi-task", exact=True).check()
    expect(page.locator("#field-regimes .studio-field-error")).to_contain_text("add a second task")
    page.get_by_label("Clauses (bundled)").check()
    expect(sampling).to_be_visible()
    card = page.locator("#preview-card")
    expect(card).to_contain_text("2 tasks × 2 regimes + 1 joint training + 2 controls")
    page.get_by_label("Full data", exact=True).uncheck()
    page.get_by_label("Few-shot", exact=True).uncheck()
    expect(shots).not_to_be_visible()
    expect(page.get_by_role("button", name="Queue 60 runs")).to_be_enabled()


def test_settings_stand_there_for_the_chosen_methods_alone(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    page.get_by_text("Advanced: settings of the chosen methods").click()
    rank = page.get_by_label("Rank")
    expect(page.locator("#field-method-prompt-tuning-cut")).to_be_visible()
    expect(page.locator("#method-dynamic-prompt")).to_be_visible()
    expect(rank).not_to_be_visible()
    lora = page.get_by_label("LoRA · lora")
    lora.check()
    rank.fill("4")
    expect(page.locator("#preview-card")).to_contain_text("rank: 4")
    lora.uncheck()
    expect(rank).not_to_be_visible()
    lora.check()
    expect(rank).to_have_value("4")


def test_the_card_tells_the_time_by_what_has_finished_when_it_is_seen(
    tmp_path: Path, page: Page
) -> None:
    settings = Settings(home=tmp_path)
    store = new_store(settings)
    card = page.locator("#preview-card")
    with page_server(tmp_path) as address:
        served = page.request.get(f"{address}/new").text()
        assert "no like run" not in served, "the page was built before any run could finish"
        page.goto(f"{address}/new")
        expect(card).to_contain_text("no like run has finished here yet")
        actions.submit_recipe(store, recipe(), settings=settings)
        finish(store, worker(store), [0.8] * 4)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(card).to_contain_text("From 4 finished runs")
    store.close()


def test_a_shipped_recipe_is_opened_by_its_address(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new?recipe=demo")
    expect(page.get_by_label("Name of the study")).to_have_value("Demo")
    expect(page.get_by_role("button", name="Queue 6 runs")).to_be_enabled()


def test_a_task_is_chosen_by_the_address(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new?task=clauses")
    expect(page.get_by_label("Clauses (bundled)")).to_be_checked()
    expect(page.get_by_label("Desk (bundled)")).not_to_be_checked()


def test_the_tab_of_the_text_shows_nothing_of_the_form(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    expect(page.get_by_role("button", name="Queue 4 runs")).to_be_visible()
    page.get_by_role("tab", name="Recipe as YAML").click()
    expect(page.get_by_role("button", name="Queue 4 runs")).not_to_be_visible()
    expect(page.locator("#preview-card")).not_to_be_visible()


def test_a_run_is_cloned_into_the_form(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new?clone={site.ids['running']}")
    expect(page.get_by_label("Name of the study")).to_have_value(re.compile(r"copy of S2-6"))
    expect(page.get_by_role("button", name="Queue 1 run", exact=True)).to_be_visible()


def test_seeds_unfold_and_filters_live_in_the_address(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/runs?study={site.ids['demo']}")
    expect(page.get_by_text("89.0")).to_be_visible()
    expect(page.get_by_text("± 1.4").last).to_be_visible()
    page.get_by_role("button", name=re.compile("Show the 2 seeds of adap_ins_pos")).click()
    expect(page.get_by_role("link", name="S1-5")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="S1-5")).to_be_visible()
    page.get_by_label("Study").select_option("")
    page.get_by_label("State").select_option("failed")
    expect(page.locator(".study")).to_have_count(1)
    assert "state=failed" in page.url
    page.get_by_label("Search").fill("no such run")
    expect(page.get_by_text("No run fits these filters")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".study")).not_to_have_count(0)


def test_a_waiting_run_is_cancelled_and_queued_again(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/runs?study={site.ids['waiting']}")
    page.get_by_role("button", name=re.compile("Show the 2 seeds")).click()
    page.get_by_role("button", name="Cancel S3-1", exact=True).click()
    expect(page.locator(".seed-row .state-cancelled")).to_have_count(1)
    page.get_by_role("button", name="Retry S3-1", exact=True).click()
    expect(page.locator(".seed-row .state-cancelled")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("route", ["", "new", "runs"])
def test_a_telephone_needs_no_sideways_scroll(
    site: Site, page: Page, route: str, theme: str
) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.goto(f"{site.address}/{route}?__theme={theme}")
    expect(page.locator(".topbar [aria-current=page]")).to_be_visible()
    if route != "new":
        expect(page.get_by_text("Position or vectors?").last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert page.evaluate("document.body.classList.contains('dark')") is (theme == "dark")


def test_the_keyboard_reaches_everything_and_focus_is_seen(site: Site, page: Page) -> None:
    page.goto(site.address)
    expect(page.get_by_text("Position or vectors?")).to_be_visible()
    reached: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width != "0px", reached[-1]
    assert {"Home", "New experiment", "Runs", "Compare", "Try it"} <= set(reached)
