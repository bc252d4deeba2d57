"""Plotly figures as answers."""

from __future__ import annotations

import json

import plotly.graph_objects as go
from fastapi import Response


def figure_response(figure: go.Figure | None, **more: int | str) -> Response:
    """Answer with a figure and values beside it; plotly writes its arrays itself."""
    head = "".join(f"{json.dumps(name)}: {json.dumps(value)}, " for name, value in more.items())
    content = "null" if figure is None else figure.to_json()
    return Response(f'{{{head}"figure": {content}}}', media_type="application/json")
