"""Gradio controls for the rows of ``app.forms``."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from app.forms import FormField


def elem_id(path: str) -> str:
    """Identifier of a control in the page; scripts put its error message there."""
    return "field-" + path.replace(".", "-").replace("_", "-")


def control(field: FormField, **more: Any) -> Component:
    """Draw one field; bounds are checked by the recipe, so that every error is told in place."""
    shared: dict[str, Any] = {
        "label": field.title,
        "info": field.help,
        "value": field.default if field.default is not None else "",
        "elem_id": elem_id(field.path),
        "min_width": 150,
        **more,
    }
    if field.kind in ("integer", "number") and not field.optional:
        return gr.Number(**shared)
    if field.kind == "switch":
        return gr.Checkbox(**shared)
    if field.kind == "choices":
        shared["elem_classes"] = "choices"
        return gr.CheckboxGroup(choices=list(field.choices), **shared)
    if field.kind == "lines":
        return gr.Textbox(lines=3, max_lines=12, elem_classes="mono-input", **shared)
    if field.kind == "choice":
        choices: list[tuple[str, str | int]] = list(field.choices)
        if field.optional:
            choices = [("default", ""), *choices]
            shared["value"] = field.default or ""
        return gr.Dropdown(choices=choices, filterable=False, **shared)
    # Also numbers that may be left empty: Gradio shows, and sends, an empty number as 0.
    return gr.Textbox(**shared)
