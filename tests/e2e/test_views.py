"""The pages Run, Compare and Try it in a real browser, against a real server process."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import update

from core.store import predictions as stored
from core.store.models import Run
from tests.integration.test_places_api import NAMES, WRONG, finish, predictions
from tests.page_server import page_server
from tests.position_tools import read
from tests.seeding import HOSTILE, Seeded, answer_body, new_store, report, seed

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Site:
    """A server process over a seeded home folder."""

    address: str
    seeded: Seeded


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the web application as people do, and stop it by its process id."""
    home = tmp_path_factory.mktemp("views")
    seeded = seed(home)
    try:
        with page_server(home) as address:
            yield Site(address, seeded)
    finally:
        seeded.store.close()


@pytest.fixture
def page(page: Page, site: Site) -> Iterator[Page]:
    """A page on which no text that was typed by a person may have run as a script."""
    page.goto(site.address)
    yield page
    assert page.evaluate("window.hacked") is None


def visit(page: Page, site: Site, path: str) -> None:
    """Open a page of the site."""
    page.goto(site.address + path)


def drawn(page: Page, name: str) -> None:
    """Wait until a chart is drawn."""
    page.wait_for_selector(f'[data-chart="{name}"][data-drawn] .main-svg', state="attached")


def zoom_of(page: Page, name: str) -> list[float]:
    """Range of the horizontal axis."""
    found: list[float] = page.evaluate(
        f"""() => document.querySelector('[data-chart="{name}"]')._fullLayout.xaxis.range"""
    )
    return found


def points_of(page: Page, name: str) -> int:
    """Points of the first curve."""
    count: int = page.evaluate(
        f"""() => document.querySelector('[data-chart="{name}"]').data[0].x.length"""
    )
    return count


def assert_fits(page: Page) -> None:
    """No sideways scrolling of the page as a whole."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_live_run_grows_and_keeps_zoom_and_node(page: Page, site: Site) -> None:
    visit(page, site, f"/run?run={site.seeded.running}")
    drawn(page, "loss")
    expect(page.get_by_text("attempt 2").first).to_be_visible()
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    before = points_of(page, "loss")
    page.evaluate(
        """() => {
            const chart = document.querySelector('[data-chart="loss"]');
            chart.mine = true;
            return Plotly.relayout(chart, {'xaxis.range[0]': 11, 'xaxis.range[1]': 29});
        }"""
    )
    report(site.seeded.store, site.seeded, before + 5)
    page.wait_for_function(
        f"""() => document.querySelector('[data-chart="loss"]').data[0].x.length > {before}"""
    )
    assert zoom_of(page, "loss") == [11, 29]
    assert page.evaluate("""document.querySelector('[data-chart="loss"]').mine""") is True
    expect(page.get_by_text(f"{before + 5} / 100 updates")).to_be_visible()
    expect(page.get_by_role("region", name="Progress")).to_contain_text("together with 1 other")


def test_a_finished_run_shows_result_cuts_and_config(page: Page, site: Site) -> None:
    visit(page, site, f"/run?run={site.seeded.dynamic}")
    drawn(page, "cut")
    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("Finished")
    expect(result).to_contain_text(re.compile(r"after \d+ s of work"))
    expect(result).to_contain_text("74.7 %")
    expect(result).to_contain_text("73.5 %")
    expect(page.locator(".modebar-btn")).to_have_count(0)
    expect(page.get_by_text("method.num_virtual_tokens")).to_be_visible()
    drawn(page, "audit-0")
    audit = page.get_by_role("heading", name="What the choice is worth").locator("../..")
    expect(audit).to_contain_text("+4.2")
    expect(audit).to_contain_text("does not mean")
    expect(audit.get_by_role("rowheader", name=HOSTILE)).to_be_visible()
    audit.get_by_text("All rows as a table").click()
    expect(audit).to_contain_text("biased upwards")
    page.get_by_text("Evaluations as a table").click()
    expect(page.get_by_role("columnheader", name="dev/accuracy")).to_be_visible()
    page.get_by_text("Log of attempt 1").click()
    expect(page.get_by_text("training from step 0")).to_be_visible()


def test_a_run_with_known_places_shows_its_slots_by_cue(page: Page, tmp_path: Path) -> None:
    store = new_store(tmp_path)
    run = finish(store, tmp_path, predictions(400))
    places = [row["place"] for row in read("val")]
    try:
        with page_server(tmp_path) as address:
            page.goto(f"{address}/run?run={run}")
            heading = page.get_by_role("heading", name="Slots by cue on dev")
            card = heading.locator("../..")
            missed = sum(place > 0 for place in places[:WRONG])
            expect(card).to_contain_text(f"took it for {100 * (1 - missed / 400):.1f} %")
            for place, name in enumerate(NAMES):
                expect(card.get_by_role("columnheader", name=f"took {name}")).to_be_visible()
                wrong = places[:WRONG].count(place) if place else 0
                counts = ["0"] * 4
                counts[0] = str(wrong)
                counts[place] = str(places.count(place) - wrong)
                row = card.get_by_role("row", name=name).filter(has=page.locator("td"))
                expect(row.locator("td")).to_have_text(counts)
                expect(row.locator("strong")).to_have_text(counts[place])
    finally:
        store.close()


def test_a_failed_run_says_why_and_can_be_retried(page: Page, site: Site) -> None:
    visit(page, site, f"/run?run={site.seeded.failed}")
    expect(page.get_by_role("alert")).to_contain_text("The loss became NaN at update 41")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_a_queued_run_can_be_cancelled_and_retried(page: Page, site: Site) -> None:
    with site.seeded.store.write() as session:
        session.execute(update(Run).where(Run.id == site.seeded.queued).values(group_size=4))
    visit(page, site, f"/run?run={site.seeded.queued}")
    expect(page.get_by_text("Curves appear when a worker takes the run.")).to_be_visible()
    # The group of an earlier attempt is not one that it is in.
    expect(page.get_by_role("region", name="Progress")).not_to_contain_text("together")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("Cancelled")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


def test_a_run_that_does_not_exist_leads_back(browser: Browser, site: Site) -> None:
    # A page of its own: the missing run stands as an error in the browser's console.
    page = browser.new_page()
    visit(page, site, "/run?run=nothing")
    expect(page.get_by_text("No run nothing", exact=True)).to_be_visible()
    visit(page, site, "/run")
    expect(page.get_by_text("No run chosen")).to_be_visible()
    page.close()


def test_compare_shows_table_charts_and_differences(page: Page, site: Site) -> None:
    visit(page, site, "/compare")
    table = page.get_by_role("region", name="Comparison table")
    expect(table).to_contain_text("84.8")
    expect(table).to_contain_text("failed 1/3")
    expect(table).to_contain_text("majority class")
    for name in ("comparison_bars", "learning_curve", "accuracy_parameters"):
        drawn(page, name)
    expect(page.get_by_text("cannot go below p = 0.25").first).to_be_visible()
    page.get_by_role("button", name="linear_probe, clauses").click()
    links = page.locator(".runs-of a")
    expect(links).to_have_count(3)
    assert "cell=" in page.url
    page.reload()
    expect(page.locator(".runs-of a")).to_have_count(3)


def test_the_address_holds_the_choices(page: Page, site: Site) -> None:
    visit(page, site, "/compare")
    page.get_by_label("Compared with").select_option("linear_probe")
    expect(page.get_by_role("heading", name="Differences from linear_probe")).to_be_visible()
    page.get_by_label("desk", exact=True).uncheck()
    expect(page.get_by_role("columnheader", name="desk")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Differences from linear_probe")).to_be_visible()
    expect(page.get_by_label("desk", exact=True)).not_to_be_checked()
    expect(page.get_by_label("clauses", exact=True)).to_be_checked()


def test_a_sealed_test_is_opened_on_purpose_and_told(page: Page, site: Site) -> None:
    visit(page, site, f"/compare?study={site.seeded.live}")
    expect(page.get_by_text("The test split is sealed")).to_be_visible()
    page.get_by_role("button", name="Open S2").click()
    expect(page.get_by_text("opened 1 time before its end")).to_be_visible()


def answer_all(site: Site, tokens: list[str]) -> None:
    """Answer the next prediction as a predictor does, every other run another label."""
    store = site.seeded.store
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with store.write() as session:
            for pending in stored.take_pending(session):
                for place, run_id in enumerate(pending.adapters):
                    label = ("billing", "access")[place % 2]
                    body = answer_body(run_id, label, tokens, cut=3 + place)
                    stored.add_answer(session, pending.id, run_id, body)
                stored.finish(session, pending.id)
                return
        time.sleep(0.05)
    raise AssertionError("nobody asked")


def label_names(page: Page) -> list[Locator]:
    """Names of the labels of each answer, in the order in which they stand."""
    return [card.locator(".label-name") for card in page.locator("article.answer").all()]


def test_try_it_shows_answers_tokens_and_cuts_side_by_side(page: Page, site: Site) -> None:
    visit(page, site, "/try?task=desk")
    # The first example is classified by itself.
    answer_all(site, ["[CLS]", "[UNK]", "[SEP]"])
    expect(page.get_by_text("The runs disagree")).to_be_visible()
    unknown = page.get_by_text("no token of this text is known to the backbone")
    expect(unknown).to_have_count(6)
    # Runs disagree, yet their labels stand in one order.
    names = [card.all_inner_texts() for card in label_names(page)]
    assert all(one == names[0] for one in names)
    expect(page.locator("article.answer")).to_have_count(6)
    page.get_by_role("textbox", name="Text").fill(HOSTILE)
    page.keyboard.press("Enter")
    answer_all(site, ["[CLS]", HOSTILE, "[SEP]"])
    first = page.locator("article.answer").first
    expect(first).to_contain_text("3 prompt vectors before the text, 7 after it")
    expect(first.locator(".token").nth(1)).to_have_text(HOSTILE)
    expect(unknown).to_have_count(0)
    expect(first.locator(".vector")).to_have_count(10)
    expect(first).to_contain_text("first 3 of 412 tokens used")
    expect(first.get_by_role("img", name="Probability of each cut")).to_be_visible()
    assert "text=" in page.url


def test_try_it_refuses_an_empty_text(page: Page, site: Site) -> None:
    visit(page, site, "/try?task=clauses")
    answer_all(site, ["[CLS]"])
    page.get_by_role("textbox", name="Second text").fill(" ")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert")).to_contain_text("Still empty: Second text.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_do_not_scroll_sideways(browser: Browser, site: Site, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path, name in (
        (f"/run?run={site.seeded.dynamic}", "cut"),
        (f"/run?run={site.seeded.dynamic}", "audit-0"),
        ("/compare", "accuracy_parameters"),
    ):
        visit(page, site, f"{path}{'&' if '?' in path else '?'}__theme={scheme}")
        drawn(page, name)
        assert_fits(page)
        color = page.evaluate(
            f"""() => document.querySelector('[data-chart="{name}"]')._fullLayout.font.color"""
        )
        text = page.evaluate(
            "getComputedStyle(document.body).getPropertyValue('--body-text-color-subdued').trim()"
        )
        assert color == text
    visit(page, site, f"/try?task=desk&__theme={scheme}")
    page.wait_for_selector("article.answer")
    assert_fits(page)
    context.close()


def test_equal_methods_say_what_differs_and_a_telephone_shows_it(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, site, f"/compare?study={site.seeded.finished},S2&split=dev")
    rows = page.get_by_role("region", name="Comparison table").locator("tbody th")
    equal = rows.filter(has_text="fine_tuning").locator(".apart")
    expect(equal).to_have_text(["[batch_size 16]", "[batch_size 8]"])
    drawn(page, "learning_curve")
    legend = page.locator("section", has=page.locator("[data-chart=learning_curve]"))
    name = legend.get_by_role("button", name="fine_tuning [batch_size 16]")
    expect(name.locator(".line-sample")).to_be_visible()
    name.click()
    expect(name).to_have_attribute("aria-pressed", "false")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
