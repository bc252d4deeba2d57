"""Plots: one module each with TITLE, ``prepare(rows) -> Info`` and ``draw(info) -> Figure``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from core.registry import discover

TITLES: Mapping[str, str] = discover(sys.modules[__name__], "TITLE")
PREPARE: Mapping[str, Callable[..., Any]] = discover(sys.modules[__name__], "prepare")
DRAW: Mapping[str, Callable[..., go.Figure]] = discover(sys.modules[__name__], "draw")

__all__ = ["DRAW", "PREPARE", "TITLES"]
