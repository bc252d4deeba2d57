"""Pictures of the pages for the README; taken only when STUDIO_SCREENSHOTS is 1."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "app" / "static" / "screenshots"


def take_picture(page: Page, name: str) -> None:
    """Save a picture for the README, when it is asked for."""
    if os.environ.get("STUDIO_SCREENSHOTS") == "1":
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", full_page=True)
