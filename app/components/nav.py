"""The bar on top of every page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from app.components.html import fill, join
from app.components.live import live_markup

LOGO = Markup(
    '<svg viewBox="0 0 24 24" aria-hidden="true"><rect x="1" y="4" width="5" height="16" rx="1.6" '
    'fill="#5a6fe6"/><rect x="8.5" y="4" width="5" height="16" rx="1.6" fill="#97a2b3"/>'
    '<rect x="16" y="4" width="7" height="16" rx="1.6" fill="#0f9d76"/></svg>'
)
SUN_AND_MOON = Markup(
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
    'aria-hidden="true">'
    '<circle cx="12" cy="12" r="9"/><path d="M12 3v18a9 9 0 0 0 0-18z" fill="currentColor"/></svg>'
)


def topbar(entries: Sequence[tuple[str, str]], current: str) -> Markup:
    """Draw brand, links, the queue's state, the switch between light and dark, room for a note.

    Args:
        entries: Title and route of each page in the bar; "" is Home.
        current: Route of the page that is open.
    """
    links = join(
        fill(
            '<li><a href="/{route}"{mark}>{title}</a></li>',
            route=route,
            mark=Markup(' aria-current="page"') if route == current else Markup(),
            title=title,
        )
        for title, route in entries
    )
    return fill(
        '<nav class="topbar" aria-label="Pages"><a class="brand" href="/">{logo}DP Studio</a>'
        '<ul>{links}</ul><div class="topbar-end">{queue}'
        '<button type="button" class="icon-button" data-studio-theme '
        'aria-label="Switch between light and dark" title="Light or dark">{icon}</button>'
        '</div></nav><div id="studio-disk" class="studio-disk" aria-live="polite"></div>',
        logo=LOGO,
        links=links,
        queue=live_markup("queue-chip"),
        icon=SUN_AND_MOON,
    )
