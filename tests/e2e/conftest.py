"""A real Chromium for the tests in a browser; it may ask no host but this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from core.local.browser import NOT_FOUND, installed_program

LOCAL_HOSTS = {"127.0.0.1", "localhost", "", None}
PATIENCE_MS = 30_000
# Gradio ends its own requests when a person leaves the page, and then reports each as an
# error to a console that nobody will read. From that moment on the page is not listened to.
DEAF_WHEN_LEFT = """
addEventListener("beforeunload", () => {
  console.error = console.debug;
  addEventListener("unhandledrejection", (event) => event.preventDefault());
});
"""
SIZE = {"width": 1280, "height": 860}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Asked before Playwright starts its own loop, which it may start once only.
    program = os.environ.get("STUDIO_CHROMIUM") or installed_program(os.environ)
    if program is None:
        pytest.skip(NOT_FOUND)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page; at the end it must have met no error and no outside host."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    context.add_init_script(DEAF_WHEN_LEFT)
    opened = context.new_page()
    outside: list[str] = []
    errors: list[str] = []

    def see_request(request: Request) -> None:
        if urlsplit(request.url).hostname not in LOCAL_HOSTS:
            outside.append(request.url)

    def see_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    opened.on("request", see_request)
    opened.on("console", see_message)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    # A test may end while a request that it answers itself is under way.
    opened.unroute_all(behavior="ignoreErrors")
    context.close()
    assert outside == []
    assert errors == []
