"""One run: what it is, its curves while it trains, where the prompt went, and how it ended."""

from __future__ import annotations

from app.components.live import live_html
from app.pages._context import PageContext

TITLE = "Run"
ROUTE = "run"


def build(context: PageContext) -> None:
    """Add the page to the open Blocks; ``run.js`` draws the run that the address names."""
    live_html("run", min_height=420)
