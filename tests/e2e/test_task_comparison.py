"""The Compare page over several tasks in a real browser: joint training, averages, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.page_server import page_server
from tests.seeding_tasks import seed_tasks

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a study of all tasks (S1) and one of joint training (S2)."""
    home = tmp_path_factory.mktemp("tasks")
    seeded = seed_tasks(home, predictions=False)
    try:
        with page_server(home) as found:
            yield found
    finally:
        seeded.store.close()


def test_joint_tasks_stand_beside_their_control_with_the_difference(
    page: Page, address: str
) -> None:
    page.goto(f"{address}/compare?study=S2")
    heads = page.locator("table.comparison thead th")
    # Three tasks, each joint and alone, behind the column of names.
    expect(heads).to_have_count(7)
    expect(heads.filter(has_text="joint")).to_have_count(3)
    gains = page.get_by_role("region", name="Joint training and its control").locator("tbody tr")
    expect(gains).to_have_count(6)
    expect(gains.first).to_contain_text("cb")
    expect(gains.first).to_contain_text("+5.0")
    # Three tasks of SuperGLUE are too few for its averages, or for saying what they lack.
    expect(page.locator('[data-key="averages"]')).to_have_count(0)
    expect(page).to_have_title("Compare – DP Studio")
    page.get_by_label("wic", exact=True).uncheck()
    expect(heads).to_have_count(5)
    expect(gains).to_have_count(4)


def test_the_suite_shows_each_tasks_metric_both_averages_and_diagnostics_on_request(
    page: Page, address: str
) -> None:
    page.goto(f"{address}/compare?study=S1")
    heads = page.locator("table.comparison thead th")
    expect(heads.filter(has_text="record")).to_contain_text("F1")
    expect(heads.filter(has_text="multirc")).to_contain_text("4,848 examples")
    averages = page.locator('[data-key="averages"]')
    expect(averages.get_by_role("heading", name="SuperGLUE average, test")).to_be_visible()
    expect(averages.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Metric").select_option("official")
    expect(heads.filter(has_text="multirc")).to_contain_text("mean of F1a and exact match")
    expect(heads.filter(has_text="ax-b")).to_have_count(0)
    page.get_by_label("Diagnostics").select_option("1")
    expect(heads.filter(has_text="ax-b")).to_contain_text("Matthews correlation")
    expect(heads.filter(has_text="ax-g")).to_contain_text("scored by runs of rte")
    page.reload()
    expect(heads.filter(has_text="ax-b")).to_have_count(1)


@pytest.mark.parametrize("study", ["S1", "S2"])
def test_a_narrow_window_is_not_scrolled_sideways(page: Page, address: str, study: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/compare?study={study}&extra=1")
    page.wait_for_selector('[data-chart="comparison_bars"][data-drawn] .main-svg', state="attached")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
