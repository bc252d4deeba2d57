"""Which tasks New experiment offers: those whose files are here, and data sets that were added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from core.data.library import list_datasets
from core.data.places import find_files
from core.errors import DataError
from core.recipe_parts import TaskChoice
from core.regimes import Source
from core.settings import Settings
from core.tasks import TASKS


@dataclass(frozen=True)
class TaskOptions:
    """Tasks of the form.

    Attributes:
        choices: Title and value of each; a value is a name, or ``name@version`` of an added one.
        missing: Names of tasks without files here.
    """

    choices: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Values alone."""
        return tuple(value for _, value in self.choices)

    def named(self, wanted: str) -> str:
        """Return the value that an address means, the newest version of a bare name; "" if none."""
        if wanted in self.values:
            return wanted
        name, _, version = wanted.partition("@")
        newest = [value for value in self.values if value.startswith(f"{name}@")]
        return newest[0] if newest and version in ("", "latest") else ""


def task_options(settings: Settings) -> TaskOptions:
    """Look for the files of every task; bundled ones come first, added data sets last."""
    here: dict[str, str] = {}
    missing: list[str] = []
    for name, spec in TASKS.items():
        if spec.suite == "diagnostic":
            continue
        sources = [source for source in get_args(Source) if _has_files(name, source, settings)]
        if not sources:
            missing.append(name)
        else:
            here[name] = spec.title if "official" in sources else f"{spec.title} (FewGLUE only)"
    order = sorted(here, key=lambda name: (TASKS[name].suite != "bundled", name != "desk", name))
    known = [(here[name], name) for name in order]
    return TaskOptions((*known, *_added(settings)), tuple(missing))


def _has_files(name: str, source: Source, settings: Settings) -> bool:
    try:
        find_files(TaskChoice(name=name), TASKS[name], settings.data_folders, source)
    except DataError:
        return False
    return True


def _added(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Added data sets; of several versions the titles tell which is which."""
    cards = [found.card for found in list_datasets(settings.data_folders)]
    names = [card.name for card in cards]
    return tuple(
        (
            card.title if names.count(card.name) == 1 else f"{card.title} ({card.version[:6]})",
            f"{card.name}@{card.version}",
        )
        for card in cards
    )
