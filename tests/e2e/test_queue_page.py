"""Queue & workers, attempts with their logs, and the note about the disk in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select, update

from core.store import runs, studies, workers
from core.store.clock import utcnow
from core.store.models import Attempt, Run, Study, Worker
from tests.page_server import page_server
from tests.seeding import HOSTILE, Seeded, seed
from tests.store_tools import recipe

pytestmark = pytest.mark.e2e

NARROW = {"width": 390, "height": 844}
NOTICE = "Continued in another environment: torch 2.13.0 → 2.14.0."


@dataclass(frozen=True)
class Site:
    """A server process over a filled home folder."""

    address: str
    seeded: Seeded


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("queue")
    seeded = seed(home)
    with seeded.store.write() as session:
        facts = {
            "memory_bytes": 80 * 10**9,
            "memory_used": 61 * 10**9,
            "queues": ["default", "gpu"],
        }
        session.execute(update(Worker).values(**facts, hb_at=utcnow()))
        wanted = recipe(seeds=(0, 1), name="Needs much")
        studies.create_study(
            session, wanted, wanted.runs(), queue="gpu", memory_of=lambda _: 120 * 10**9
        )
        wanted = recipe(name=f"At night {HOSTILE}")
        studies.create_study(session, wanted, wanted.runs(), queue="night")
        assert runs.notice(session, seeded.running, seeded.running_fence, NOTICE)
        assert runs.stalled(session, seeded.running, seeded.running_fence, True)
        tail = {"log_tail": f"\x1b[31mkilled\x1b[0m {HOSTILE}\n"}
        first = (Attempt.run_id == seeded.running, Attempt.attempt == 1)
        session.execute(update(Attempt).where(*first).values(**tail))
        old = workers.register(session, name="old", role="train", host="x", pid=9)
        session.execute(update(Worker).where(Worker.id == old).values(state="lost"))
        ended = workers.register(session, name="ended", role="train", host="left-in-order", pid=8)
        workers.stop(session, ended)
    try:
        with page_server(home) as address:
            yield Site(address, seeded)
    finally:
        seeded.store.close()


def places(page: Page) -> list[str]:
    """Short names of the waiting runs in their order."""
    return page.locator(".waiting-table tbody a").all_inner_texts()


def test_home_tells_of_lost_workers_but_not_of_those_that_were_stopped(
    site: Site, page: Page
) -> None:
    page.goto(site.address)
    card = page.locator(".card").filter(has=page.get_by_role("heading", name="Workers"))
    expect(card.get_by_text("lost", exact=True)).to_have_count(1)
    expect(card.get_by_text("alive", exact=True)).not_to_have_count(0)
    expect(card).not_to_contain_text("left-in-order")


def test_the_chip_leads_to_workers_and_to_what_waits_and_why(site: Site, page: Page) -> None:
    page.goto(site.address)
    page.get_by_role("link", name="1 running · 4 waiting").click()
    page.wait_for_url("**/queue")
    expect(page).to_have_title("Queue & workers – DP Studio")
    table = page.get_by_role("table", name="Workers", exact=True)
    expect(table.get_by_role("meter", name="Memory in use: 61 GB of 80 GB")).to_be_visible()
    expect(table).to_contain_text("update 60 of 100 · 0.40 s an update")
    expect(table).to_contain_text("no progress")
    expect(table).to_contain_text(re.compile("silent for|alive"))
    gone = page.get_by_role("table", name="Workers that are gone")
    expect(gone).not_to_be_visible()
    page.get_by_text("2 gone within the last hour").click()
    expect(gone).to_contain_text("lost")
    expect(gone).to_contain_text("stopped")
    waiting = page.get_by_role("table", name="Waiting runs")
    expect(waiting).to_contain_text("needs 120 GB; the largest device")
    expect(waiting).to_contain_text("no worker serves the queue night")
    # When the run in training goes on is not known, so neither is when the next one starts.
    expect(waiting).to_contain_text("waits for its turn")
    # The one before has done all its updates and is being scored: how long that takes is not known.
    done = {"is_stalled": False, "last_step": 100, "phase": "evaluating"}
    running = site.seeded.running
    with site.seeded.store.write() as session:
        before = session.execute(select(Run.last_step, Run.phase).where(Run.id == running)).one()
        session.execute(update(Run).where(Run.id == running).values(**done))
    expect(waiting.get_by_text("next", exact=True)).to_be_visible()
    back = {"is_stalled": True, "last_step": before.last_step, "phase": before.phase}
    with site.seeded.store.write() as session:
        session.execute(update(Run).where(Run.id == running).values(**back))
    assert page.evaluate("window.hacked") is None


def test_the_order_is_changed_by_the_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/queue")
    expect(page.locator(".waiting-table tbody tr")).to_have_count(4)
    assert places(page) == ["S2-2", "S3-1", "S3-2", "S4-1"]
    page.get_by_role("button", name="To the front: S4-1").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".waiting-table tbody a").first).to_have_text("S4-1")
    group = page.get_by_role("group", name="When S3 runs")
    group.get_by_role("button", name="First").focus()
    page.keyboard.press("Space")
    expect(group.get_by_role("button", name="First")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".waiting-table tbody a").first).to_have_text("S3-1")
    # A cancelled run leaves the list; the others keep their order.
    page.get_by_role("button", name="Cancel S3-2").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".waiting-table tbody tr")).to_have_count(3)
    assert places(page) == ["S3-1", "S4-1", "S2-2"]


def test_attempts_tell_their_notice_and_show_their_log(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/run?run={site.seeded.running}")
    expect(page.get_by_text("No progress")).to_be_visible()
    expect(page.get_by_text(NOTICE)).to_be_visible()
    expect(page.locator(".attempts > li")).to_have_count(2)
    expect(page.locator(".attempts > li").first).to_contain_text("continued from update 30")
    page.get_by_text("Log of attempt 1", exact=True).click()
    log = page.locator("pre[aria-label='Log of attempt 1']")
    expect(log).to_have_text(f"killed {HOSTILE}")
    assert page.evaluate("window.hacked") is None


def test_a_failure_says_what_to_do_next(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/run?run={site.seeded.failed}")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Diverged. The loss became NaN")
    link = alert.get_by_role("link", name="Clone with a lower rate")
    expect(link).to_have_attribute("href", f"/new?clone={site.seeded.failed}")


def test_a_queue_is_chosen_where_there_are_several(site: Site, page: Page) -> None:
    page.goto(f"{site.address}/new")
    queue = page.locator("#form-queue input")
    expect(queue).to_have_value("default")
    queue.click()
    page.get_by_role("option", name="gpu").click()
    page.get_by_role("button", name="Queue 4 runs").click()
    page.wait_for_url("**/runs?study=*")
    with site.seeded.store.read() as session:
        newest = select(Study.queue).order_by(Study.number.desc()).limit(1)
        assert session.scalar(newest) == "gpu"


def nearly_full(route: Route) -> None:
    """Let the server say that its disk is nearly full."""
    answer = route.fetch()
    disk = {"level": "low", "free": 3_120_000_000, "share": 0.031}
    route.fulfill(response=answer, body=json.dumps({**answer.json(), "disk": disk}))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_telephone_shows_queue_and_disk_without_sideways_scroll(
    site: Site, page: Page, theme: str
) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.route("**/api/status", nearly_full)
    for path in (f"/queue?__theme={theme}", f"/run?run={site.seeded.running}&__theme={theme}"):
        page.goto(site.address + path)
        expect(page.get_by_text("nearly full: 3.1 GB free, 3.1 %")).to_be_visible()
        shown = page.locator(".workers-table, .attempts").first
        expect(shown).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
