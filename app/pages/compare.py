"""Comparison of methods over seeds: the table a paper prints, charts, and paired differences."""

from __future__ import annotations

from app.components.html import page_head
from app.components.live import live_html, static_html
from app.pages._context import PageContext

TITLE = "Compare"
ROUTE = "compare"
LEAD = "Methods in rows, tasks and regimes in columns: mean and standard deviation over seeds."


def build(context: PageContext) -> None:
    """Add the page to the open Blocks; ``compare.js`` draws what the address asks for."""
    static_html(page_head("Compare", LEAD))
    live_html("compare", min_height=480)
