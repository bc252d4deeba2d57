"""Home: three ways to start, what runs now, who works, and what came out last."""

from __future__ import annotations

from markupsafe import Markup

from app.components.html import fill, page_head
from app.components.live import live_html, static_html
from app.pages._context import PageContext

TITLE = "Home"
ROUTE = ""

LEAD = (
    "A frozen language model, a few trained prompt vectors, and a small network that decides where "
    "they go. Train the variants, compare them over seeds, and try them on your own sentences."
)
START_CARDS = (
    (
        "/new",
        "Run your own",
        "Pick a task, methods and seeds. The defaults work: two methods, two seeds, a few minutes.",
        "New experiment",
        "M5 4l14 8-14 8z",
    ),
    (
        "/compare",
        "Compare methods",
        "Mean and spread over seeds, the majority line, curves, and accuracy against parameters.",
        "Open the comparison",
        "M4 20V10h4v10zM10 20V4h4v16zM16 20v-7h4v7z",
    ),
    (
        "/try",
        "Try a trained model",
        "Type a sentence and see what every trained method answers and where it put its prompt.",
        "Type a sentence",
        "M4 5h16v11H9l-5 4z",
    ),
)


def _card(href: str, title: str, text: str, go: str, path: str, kind: str) -> Markup:
    return fill(
        '<a class="card start-card{kind}" href="{href}"><svg viewBox="0 0 24 24" '
        'fill="currentColor" aria-hidden="true"><path d="{path}"/></svg>'
        '<h2>{title}</h2><p>{text}</p><span class="go">{go} →</span></a>',
        kind=kind,
        href=href,
        path=path,
        title=title,
        text=text,
        go=go,
    )


def build(context: PageContext) -> None:
    """Add Home to the open Blocks; everything that changes is drawn by ``views_home.js``."""
    cards = Markup().join(
        _card(*card, " primary" if place == 0 else "") for place, card in enumerate(START_CARDS)
    )
    static_html(page_head("Learn where the prompt goes", LEAD))
    static_html(fill('<div class="grid-3">{cards}</div>', cards=cards))
    live_html("home", min_height=420)
