"""Pictures of the pages for the README.

The test of the main flow takes that of Try it when STUDIO_SCREENSHOTS is 1. The others show real
runs: ``python -m tests.e2e.pictures --home HOME "compare?study=S1" compare``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from core.local.browser import installed_program
from tests.page_server import page_server

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "app" / "static" / "screenshots"
DRAWN_MS = 8000


def take_picture(page: Page, name: str) -> None:
    """Save a picture for the README, when it is asked for."""
    if os.environ.get("STUDIO_SCREENSHOTS") == "1":
        save(page, name, is_whole=True)


def save(page: Page, name: str, *, is_whole: bool) -> None:
    """Save a picture of the whole page, or of what the window shows."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", full_page=is_whole)


def main() -> None:
    """Take a picture of a page of a studio that has been used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="address behind the host, for example compare?study=S1")
    parser.add_argument("name", help="name of the file, without an ending")
    parser.add_argument("--home", type=Path, required=True, help="the studio's folder")
    parser.add_argument("--height", type=int, default=1780, help="of the window, in pixels")
    options = parser.parse_args()
    with page_server(options.home) as address, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=installed_program(os.environ), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": options.height})
        page.goto(f"{address}/{options.page}")
        page.wait_for_timeout(DRAWN_MS)
        save(page, options.name, is_whole=False)
        browser.close()


if __name__ == "__main__":
    main()
