"""Finding a Chromium for the tests in a browser, and getting one where that is possible."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_PROGRAM = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
NOT_FOUND = (
    "No Chromium for the tests in a browser: install one (apt install chromium, or "
    ".venv/bin/playwright install chromium) or name it in STUDIO_CHROMIUM; "
    "--no-browser leaves these tests out."
)


def playwright_program() -> Path | None:
    """Chromium that Playwright downloaded; None when it did not."""
    if importlib.util.find_spec("playwright") is None:
        return None
    sync_api = importlib.import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        program = Path(playwright.chromium.executable_path)
    return program if program.is_file() else None


def installed_program(environment: Mapping[str, str]) -> str | None:
    """Look for Chromium: STUDIO_CHROMIUM, PATH, the usual place on macOS, Playwright's."""
    if named := environment.get("STUDIO_CHROMIUM"):
        return shutil.which(named)
    for name in NAMES:
        if found := shutil.which(name):
            return found
    if MAC_PROGRAM.is_file():
        return str(MAC_PROGRAM)
    own = playwright_program()
    return str(own) if own else None


def install_program(say: Callable[[str], None]) -> None:
    """Try Debian's package as root, then Playwright's download; a failure is no error here."""
    if os.getuid() == 0 and shutil.which("apt-get"):
        say("no Chromium found; installing Debian's package")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", "update"], env=quiet, check=False)
        subprocess.run(
            ["apt-get", "-qq", "-y", "install", "--no-install-recommends", "chromium"],
            env=quiet,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        if any(shutil.which(name) for name in NAMES):
            return
    say("no Chromium found; asking Playwright to download one")
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def find_chromium(say: Callable[[str], None]) -> str | None:
    """Find Chromium, or get it; None when there is no way."""
    found = installed_program(os.environ)
    if found is None and not os.environ.get("STUDIO_CHROMIUM"):
        install_program(say)
        found = installed_program(os.environ)
    return found
