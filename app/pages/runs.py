"""Runs: every run, its seeds folded, live."""

from __future__ import annotations

from app.components.html import link_button, page_head
from app.components.live import live_html, static_html
from app.pages._context import PageContext

TITLE = "Runs"
ROUTE = "runs"


def build(context: PageContext) -> None:
    """Add the table of runs; ``views_runs.js`` draws it from ``/api/runs``."""
    static_html(
        page_head(
            "Runs",
            "Seeds are folded: a row is one setting, and its number is the mean over its seeds.",
            link_button("New experiment", "/new", primary=True),
        )
    )
    live_html("runs", elem_id="runs-view", min_height=420)
