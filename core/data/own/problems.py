"""Collecting what is wrong in a file: the first problems are kept, the rest is counted."""

from __future__ import annotations

from typing import NoReturn

from core.data.own.model import Limits, Problem


class Stopped(Exception):
    """Reading cannot go on; the reason is in the list of problems."""


class Problems:
    """Problems of the files of one question, in the order in which they were met.

    Args:
        limits: How many are kept, and after how many reading stops.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shown: list[Problem] = []
        self.count = 0
        self.file = ""
        self.unit = "line"

    @property
    def shown(self) -> tuple[Problem, ...]:
        """Problems that are listed."""
        return tuple(self._shown)

    def add(self, text: str, line: int = 0, hint: str = "") -> None:
        """Note a problem of the current file and go on.

        Raises:
            Stopped: If there are so many that reading on is pointless.
        """
        self.count += 1
        if len(self._shown) < self._limits.shown_problems:
            self._shown.append(Problem(text, self.file, line, hint, self.unit))
        if self.count >= self._limits.counted_problems:
            raise Stopped

    def refuse(self, text: str, line: int = 0, hint: str = "") -> NoReturn:
        """Note a problem of the current file after which reading cannot go on.

        Raises:
            Stopped: Always.
        """
        self.add(text, line, hint)
        raise Stopped
