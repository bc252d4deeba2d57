"""Pieces of HTML that are safe by construction: every value is escaped by markupsafe."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from core.states import RunState

STATE_WORDS: dict[str, str] = {
    RunState.QUEUED: "Queued",
    RunState.STARTING: "Starting",
    RunState.RUNNING: "Running",
    RunState.STOPPING: "Stopping",
    RunState.SUCCEEDED: "Succeeded",
    RunState.FAILED: "Failed",
    RunState.CANCELLED: "Cancelled",
}


def fill(template: str, **values: object) -> Markup:
    """Put values into a template written in our source; each one is escaped unless it is Markup."""
    return Markup(template).format(**values)


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Join pieces; plain strings among them are escaped."""
    return Markup(between).join(escape(part) for part in parts)


def chip(text: str, tone: str = "neutral") -> Markup:
    """Draw a small label.

    Args:
        text: What it says.
        tone: ``neutral``, ``info``, ``good``, ``warn`` or ``bad``; the text never depends on it.
    """
    return fill('<span class="chip chip-{tone}">{text}</span>', tone=tone, text=text)


def state_chip(state: str) -> Markup:
    """Draw a run's state as a label with a shape of its own, so colour is not needed."""
    return fill(
        '<span class="chip state-{state}">{word}</span>',
        state=state,
        word=STATE_WORDS.get(state, state),
    )


def empty_state(title: str, text: str = "", action: Markup | None = None) -> Markup:
    """Say that there is nothing yet and what brings something here."""
    return fill(
        '<div class="empty"><p class="empty-title">{title}</p><p>{text}</p>{action}</div>',
        title=title,
        text=text,
        action=action or Markup(),
    )


def error_box(message: str, hint: str = "") -> Markup:
    """Show a problem with what to do next; read out at once by screen readers."""
    more = fill("<p>{hint}</p>", hint=hint) if hint else Markup()
    return fill(
        '<div class="notice notice-bad" role="alert"><p><strong>{message}</strong></p>{more}</div>',
        message=message,
        more=more,
    )


def notice(text: str | Markup, tone: str = "info") -> Markup:
    """Show a remark in a quiet box; ``tone`` as for ``chip``."""
    return fill('<div class="notice notice-{tone}">{text}</div>', tone=tone, text=text)


def link_button(text: str, href: str, *, primary: bool = False) -> Markup:
    """Draw a link that looks like a button."""
    return fill(
        '<a class="btn{kind}" href="{href}">{text}</a>',
        kind=" btn-primary" if primary else "",
        href=href,
        text=text,
    )


def page_head(title: str, lead: str | Markup = "", actions: Markup | None = None) -> Markup:
    """Draw the heading of a page: h1, one sentence, and buttons at the right."""
    sentence = fill("<p>{lead}</p>", lead=lead) if lead else Markup()
    return fill(
        '<header class="page-head"><div><h1>{title}</h1>{sentence}</div>'
        '<div class="page-actions">{actions}</div></header>',
        title=title,
        sentence=sentence,
        actions=actions or Markup(),
    )


def code_block(text: str, label: str = "Copy") -> Markup:
    """Show text in a fixed font with a copy button (wired by studio.js)."""
    return fill(
        '<div class="code-block"><button type="button" class="btn btn-small" data-studio-copy>'
        '{label}</button><pre tabindex="0">{text}</pre></div>',
        label=label,
        text=text,
    )


__all__ = [
    "STATE_WORDS",
    "chip",
    "code_block",
    "empty_state",
    "error_box",
    "escape",
    "fill",
    "join",
    "link_button",
    "notice",
    "page_head",
    "state_chip",
]
