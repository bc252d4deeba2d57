"""A file of one's own, and how a person adds it on the page Data."""

from __future__ import annotations

import csv
import io
import re

from playwright.sync_api import FilePayload, Page, expect

TONES = {
    "praise": ("The tea was lovely.", "A great little shop.", "Such a kind note in the box."),
    "complaint": ("The lid was cracked.", "The soup was cold.", "They charged me twice."),
    "question": ("Do you open on Sundays?", "Can I change the colour?", "Is there a step?"),
}
ROWS = 90


def reviews() -> bytes:
    """A CSV with three labels whose columns are named neither text nor label."""
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(["review", "tone", "customer"])
    tones = list(TONES)
    for number in range(ROWS):
        tone = tones[number % 3]
        text = f"{TONES[tone][number // 3 % 3]} Visit {number}, thank you."
        out.writerow([text, tone, f"customer {number % 20}"])
    return written.getvalue().encode()


def upload(page: Page, address: str, name: str, content: bytes) -> None:
    """Choose a file; the address then names the upload."""
    page.goto(f"{address}/data?add=1")
    payload = FilePayload(name=name, mimeType="application/octet-stream", buffer=content)
    page.locator("[data-file]").set_input_files(payload)
    page.wait_for_url(re.compile(r"/data\?upload=[0-9a-f]{24}"))


def role(page: Page, column: str, what: str) -> None:
    """Say what a column is."""
    page.get_by_label(f"What is column {column}", exact=True).select_option(what)


def add_reviews(page: Page, address: str, name: str) -> str:
    """Upload the reviews, map their columns, add them; return the version."""
    upload(page, address, "reviews.csv", reviews())
    role(page, "review", "text1")
    role(page, "tone", "label")
    role(page, "customer", "group")
    page.get_by_label("Name of the data set").fill(name)
    button = page.get_by_role("button", name="Add data set")
    expect(button).to_be_enabled()
    button.click()
    page.wait_for_url(re.compile(rf"/data\?set={name}&version=[0-9a-f]{{16}}"))
    return page.url.split("version=")[1][:16]
