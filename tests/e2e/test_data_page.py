"""The page Data in a real browser, against a real server process, no worker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from app import actions
from core.settings import Settings
from core.store.session import Store
from tests.e2e.own_data import ROWS, add_reviews, reviews, role, upload
from tests.page_server import page_server
from tests.small_studies import new_store, recipe

pytestmark = pytest.mark.e2e

NARROW = {"width": 390, "height": 800}
IMAGE = '<img src=x onerror="window.hacked = 1">'
PAYLOAD = IMAGE + "<script>window.hacked = 2</script>"


@dataclass(frozen=True)
class Site:
    """A server process over a home folder without runs."""

    address: str
    store: Store
    settings: Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("data")
    settings = Settings(home=home, offline=True)
    store = new_store(settings)
    try:
        with page_server(home) as address:
            yield Site(address, store, settings)
    finally:
        store.close()


@pytest.fixture
def page(page: Page, site: Site) -> Iterator[Page]:
    """A page on which no text of a file may have run as a script."""
    page.goto(site.address)
    yield page
    assert page.evaluate("window.hacked") is None


def test_the_list_shows_what_is_here_and_what_is_missing(site: Site, page: Page) -> None:
    page.locator("#studio-topbar").get_by_role("link", name="Data", exact=True).click()
    desk = page.get_by_role("row", name=re.compile("Desk"))
    expect(desk).to_contain_text("train 1,000")
    expect(page.get_by_role("row", name=re.compile("ReCoRD"))).to_contain_text("absent")
    desk.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Desk (bundled)")).to_be_visible()
    expect(page.locator(".batch li")).to_have_count(8)


def test_an_upload_survives_a_reload_until_it_is_added(site: Site, page: Page) -> None:
    upload(page, site.address, "reviews.csv", reviews())
    expect(page.get_by_role("button", name="Add data set")).to_be_disabled()
    role(page, "tone", "label")
    role(page, "customer", "group")
    page.get_by_label("Name of the data set").fill("kept")
    preview = page.locator("[data-key=preview]")
    expect(preview.get_by_role("rowheader", name="praise")).to_be_visible()
    page.reload()
    expect(preview.get_by_role("rowheader", name="praise")).to_be_visible()
    expect(page.get_by_label("Name of the data set")).to_have_value("kept")
    expect(page.get_by_label("What is column customer")).to_have_value("group")
    page.goto(f"{site.address}/data")
    waiting = page.locator("[data-key=uploads] li")
    expect(waiting).to_contain_text("reviews.csv")
    waiting.get_by_role("button", name="Discard").click()
    expect(waiting).to_have_count(0)


def test_a_set_is_added_looked_at_and_deleted_while_no_run_uses_it(site: Site, page: Page) -> None:
    version = add_reviews(page, site.address, "shop")
    labels = page.locator("[data-key=balance] tbody tr")
    expect(labels).to_have_count(3)
    train = page.locator(".fact", has_text="train").first.locator("dd")
    assert int(train.inner_text().split()[0]) < ROWS
    page.get_by_label("Train on").select_option("per_label")
    page.get_by_label("k", exact=True).fill("2")
    page.get_by_label("k", exact=True).press("Enter")
    draw = page.locator("[data-key=draw]")
    expect(draw).to_contain_text("draws 6 training examples")
    expect(page).to_have_url(re.compile("draw=per_label.*k=2|k=2.*draw=per_label"))
    first = draw.locator("tbody").inner_text()
    page.get_by_label("Data seed").fill("1")
    page.get_by_label("Data seed").press("Enter")
    expect(draw).to_contain_text("Data seed 1")
    assert draw.locator("tbody").inner_text() != first
    page.get_by_label("Longest input").fill("8")
    page.get_by_label("Longest input").press("Enter")
    expect(page.locator(".batch li").first).to_contain_text("cut: the text has")
    page.reload()
    expect(draw).to_contain_text("Data seed 1")
    page.get_by_role("button", name="Delete …").click()
    expect(page.get_by_role("alertdialog")).to_contain_text(f"{ROWS} rows and its card are lost")
    page.get_by_role("button", name="Delete this version").click()
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
    expect(page.get_by_text(version)).to_have_count(0)


def test_a_version_that_runs_use_is_not_deleted(site: Site, page: Page) -> None:
    version = add_reviews(page, site.address, "used")
    tasks = [{"name": "used", "dataset": version}]
    study = recipe(("prompt_tuning",), tasks=tasks)
    actions.submit_recipe(site.store, study, settings=site.settings)
    page.reload()
    page.get_by_role("button", name="Delete …").click()
    expect(page.locator("[data-key=removal]")).to_contain_text("cannot be deleted: 2 runs use it")
    expect(page.get_by_role("button", name="Delete this version")).to_have_count(0)


def test_bad_files_are_told_with_line_and_remedy(site: Site, page: Page) -> None:
    problems = page.locator("[data-key=problems]")
    ragged = b"text,label\nfine,a\nthis, has a comma,a\nok,b\n"
    upload(page, site.address, "ragged.csv", ragged)
    expect(problems).to_contain_text("line 3: 3 cells, but the header names 2 columns")
    expect(problems).to_contain_text("double quotes")
    expect(page.get_by_role("button", name="Add data set")).to_have_count(0)
    picture = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(200)
    upload(page, site.address, "picture.csv", picture)
    expect(problems).to_contain_text("is a PNG image")
    german = "text,label\nplain,a\ngrün,b\nweiß,a\nschön,b\nmüde,a\n".encode("cp1252")
    upload(page, site.address, "german.csv", german)
    expect(problems).to_contain_text("line 3: not valid UTF-8")
    page.get_by_label("Encoding").select_option("windows-1252")
    expect(page.locator("[data-key=columns]")).to_contain_text("grün")
    expect(problems).to_have_count(0)


def test_texts_of_a_file_are_never_markup(site: Site, page: Page) -> None:
    def cell(text: str) -> str:
        return '"' + (text + PAYLOAD).replace('"', '""') + '"'

    lines = [",".join(map(cell, ("words", "kind", "family")))]
    lines += [
        ",".join((cell(f"t {i} "), cell(f"l{i % 2} "), cell(f"g{i % 9} "))) for i in range(40)
    ]
    upload(page, site.address, f"{IMAGE}.csv", "\n".join(lines).encode())
    roles = page.locator("[data-column]")
    for place, what in enumerate(("text1", "label", "group")):
        roles.nth(place).select_option(what)
    page.get_by_label("Name of the data set").fill("hostile")
    expect(page.locator("[data-key=preview] tbody").first).to_contain_text("<script>")
    page.get_by_role("button", name="Add data set").click()
    page.wait_for_url(re.compile("set=hostile"))
    page.goto(f"{page.url}&draw=in_all&k=4")
    expect(page.locator("[data-key=draw] tbody")).to_contain_text("<img src=x")
    expect(page.locator("[data-key=examples]")).to_contain_text("<script>")
    expect(page.locator(".batch li").first).to_contain_text("<img")
    page.goto(f"{site.address}/data")
    expect(page.locator("[data-key^=own-hostile]")).to_contain_text(f"{IMAGE}.csv")
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("path", ["/data", "/data?add=1", "/data?set=desk&draw=per_label"])
def test_a_telephone_needs_no_sideways_scroll(site: Site, page: Page, path: str) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.goto(site.address + path)
    expect(page.locator(".data-page h1")).to_be_visible()
    expect(page.locator(".data-page .loading")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    bar = page.locator(".topbar ul")
    assert bar.evaluate("bar => bar.scrollWidth <= bar.clientWidth")


def test_an_answer_that_is_no_json_is_told_in_words(site: Site, page: Page) -> None:
    page.route(
        "**/api/data/uploads?**",
        lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>Sign in</h1>"),
    )
    page.goto(f"{site.address}/data?add=1")
    file = FilePayload(name="reviews.csv", mimeType="text/csv", buffer=reviews())
    page.locator("[data-file]").set_input_files(file)
    problem = page.locator("[data-key=problem]")
    expect(problem).to_contain_text("The file was not taken (status 200).")
    expect(problem).to_contain_text("Send it again")


def test_a_slow_answer_to_an_older_choice_is_dropped(site: Site, page: Page) -> None:
    upload(page, site.address, "reviews.csv", reviews())
    expect(page.locator("[data-key=columns]")).to_be_visible()
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if route.request.method == "PUT" and not held:
            held.append(route)
        else:
            route.fallback()

    page.route("**/api/data/uploads/*", hold_the_first)
    page.locator("[data-key=reading] summary").click()
    quotes = page.get_by_label("Double quotes")
    quotes.select_option("no")
    encoding = page.get_by_label("Encoding")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        encoding.select_option("windows-1252")
    file = page.locator("[data-key=file]")
    expect(file).to_contain_text("windows-1252")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(file).to_contain_text("windows-1252")
    expect(encoding).to_have_value("windows-1252")


def test_an_old_draw_is_not_shown_for_a_new_seed(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/data?set=desk&draw=per_label&k=2")
    draw = page.locator("[data-key=draw]")
    expect(draw).to_contain_text("Data seed 0")
    held: list[Route] = []
    page.route("**/draw?**", lambda route: held.append(route))
    page.get_by_label("Data seed").fill("1")
    page.get_by_label("Data seed").press("Enter")
    expect(draw).to_contain_text("Drawing …")
    expect(draw).not_to_contain_text("Data seed 0")
    held[0].continue_()
    expect(draw).to_contain_text("Data seed 1")
