"""Methods: one folder each, ``config.py`` light and ``model.py`` with torch."""

from __future__ import annotations

import sys

from core.methods._config import (
    GROUPS,
    Axis,
    BackboneFacts,
    Control,
    LearningRates,
    MethodConfig,
    OptimizerName,
    ParameterGroup,
    Part,
    Search,
)
from core.registry import discover

METHODS: dict[str, type[MethodConfig]] = discover(sys.modules[__name__], "Config")

ALIASES: dict[str, dict[str, object]] = {
    alias: {"kind": kind, **fields}
    for kind, config in METHODS.items()
    for alias, fields in config.ALIASES.items()
}
"""Names of the paper that stand for a method with settings."""

__all__ = [
    "ALIASES",
    "GROUPS",
    "METHODS",
    "Axis",
    "BackboneFacts",
    "Control",
    "LearningRates",
    "MethodConfig",
    "OptimizerName",
    "ParameterGroup",
    "Part",
    "Search",
]
