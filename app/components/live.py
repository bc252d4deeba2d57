"""Gradio components that hold our own HTML: static pieces and places for live views."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import Context
from gradio.events import Dependency
from markupsafe import Markup

from app.components.html import fill


def static_html(
    content: Markup,
    *,
    elem_id: str | None = None,
    elem_classes: str | None = None,
    visible: bool = True,
) -> gr.HTML:
    """Add ready HTML to the page; only ``Markup`` is taken, so nothing unescaped gets in."""
    return gr.HTML(
        str(content),
        elem_id=elem_id,
        elem_classes=elem_classes,
        visible=visible,
        js_on_load=None,
        apply_default_css=False,
    )


def live_markup(view: str, *, min_height: int = 0, **params: object) -> Markup:
    """Write the element in which ``studio.js`` mounts the view registered under this name.

    Args:
        view: Name given to ``register`` in a script of ``app/static``.
        min_height: Pixels kept free, so that the page does not jump.
        params: JSON values handed to the view's mount function.
    """
    return fill(
        '<div class="studio-view" data-studio-view="{view}" data-studio-params="{params}" '
        'style="min-height:{height}px"><p class="loading" role="status">Loading …</p></div>',
        view=view,
        params=json.dumps(params),
        height=min_height,
    )


def live_html(
    view: str, *, elem_id: str | None = None, min_height: int = 0, **params: object
) -> gr.HTML:
    """Add a live view to the page; see ``live_markup``.

    The view is drawn and refreshed by its script from plain ``/api`` routes; no Gradio event is
    involved, so zoom, focus and open rows survive every refresh.
    """
    return static_html(live_markup(view, min_height=min_height, **params), elem_id=elem_id)


def page_load(handler: Callable[..., Any], *inputs_and_outputs: Any, **options: Any) -> Dependency:
    """Call a handler when the page that is being built is opened; arguments as for ``gr.on``."""
    blocks = Context.root_block
    assert blocks is not None, "pages are built inside a gr.Blocks"
    dependency: Dependency = blocks.load(handler, *inputs_and_outputs, **options)
    return dependency
