"""Classify a sentence with every trained method and see where each put its prompt."""

from __future__ import annotations

from app.components.html import page_head
from app.components.live import live_html, static_html
from app.pages._context import PageContext

TITLE = "Try it"
ROUTE = "try"
LEAD = "Type a text and see what each trained method answers and where it put its prompt."


def build(context: PageContext) -> None:
    """Add the page to the open Blocks; ``try_it.js`` draws inputs and answers."""
    static_html(page_head("Try it", LEAD))
    live_html("try-it", min_height=480)
