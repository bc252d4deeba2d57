"""Data: every data set, what the studio makes of it, and adding one's own."""

from __future__ import annotations

from app.components.live import live_html
from app.pages._context import PageContext

TITLE = "Data"
ROUTE = "data"


def build(context: PageContext) -> None:
    """Add the page to the open Blocks; ``data.js`` draws what the address asks for."""
    live_html("data", min_height=480)
