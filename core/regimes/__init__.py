"""Regimes: how the training examples of a run are drawn; one folder each."""

from __future__ import annotations

import sys

from core.regimes._config import Candidates, Draw, RegimeConfig, Source
from core.registry import discover

REGIMES: dict[str, type[RegimeConfig]] = discover(sys.modules[__name__], "Config")

__all__ = ["REGIMES", "Candidates", "Draw", "RegimeConfig", "Source"]
