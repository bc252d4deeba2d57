"""The recipes that come with the studio, as links that open the form with them."""

from __future__ import annotations

from markupsafe import Markup

from app.components.html import fill, join
from core.recipe_files import load_recipe, shipped_recipes

# Settings of papers and their code: many, for large backbones, so they wait behind a line.
PUBLISHED = "published-"


def ready_made() -> Markup:
    """Draw the quick recipes by name, and those of papers by title in a list that opens."""
    names = list(shipped_recipes())
    quick = [_link(name, name) for name in names if not name.startswith(PUBLISHED)]
    published = [
        fill("<li>{link}</li>", link=_link(name, load_recipe(name).name))
        for name in names
        if name.startswith(PUBLISHED)
    ]
    return fill(
        '<p class="muted small">Ready-made: {quick}</p>'
        '<details class="more ready-made"><summary>{count} settings of papers and their code'
        "</summary><ul>{published}</ul></details>",
        quick=join(quick, " · "),
        count=len(published),
        published=join(published),
    )


def _link(name: str, text: str) -> Markup:
    return fill('<a href="/new?recipe={name}">{text}</a>', name=name, text=text)
