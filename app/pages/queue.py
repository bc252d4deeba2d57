"""Queue & workers: who works, and what waits in which order and why."""

from __future__ import annotations

from app.components.html import link_button, page_head
from app.components.live import live_html, static_html
from app.pages._context import PageContext

TITLE = "Queue & workers"
ROUTE = "queue"


def build(context: PageContext) -> None:
    """Add the page to the open Blocks; ``queue.js`` draws it from ``/api/queue``."""
    static_html(
        page_head(
            "Queue & workers",
            "Workers take runs from the top: highest priority first, then the oldest.",
            link_button("New experiment", "/new", primary=True),
        )
    )
    live_html("queue", min_height=420)
