"""Slots that a run took beside the right ones, of a task that is made so that these are known."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass

from core.artifacts import artifact_store
from core.data.places import find_files
from core.data.readers import read_rows
from core.data.tasks import spec_of
from core.errors import ConfigError, DataError
from core.settings import Settings
from core.store.views import RunView
from core.stored_config import read_config
from core.wording import counted


@dataclass(frozen=True)
class SlotsByPlace:
    """How often each slot was taken in dev.

    Attributes:
        slots: Names of the slots, in order.
        places: Names of the right ones among them, one for each row of ``counts``.
        counts: Examples whose right slot is that of the row and that took that of the column.
        right: Share of the examples that took the right one, 0 to 1.
    """

    slots: tuple[str, ...]
    places: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    right: float


def slots_by_place(view: RunView, settings: Settings) -> SlotsByPlace | None:
    """Count a finished run's slots on dev, which is never sealed, by the right one.

    Returns:
        Counts; None where the run chooses no slot or left no predictions, its task tells no right
        place, dev is no file of its own, or the slots are not as many as the places.

    Raises:
        DataError: If the predictions do not fit to the file.
    """
    try:
        config = read_config(view.config, view.row.slug)
    except ConfigError:
        return None
    spec = spec_of(config.task, settings.data_folders)
    slots, path = config.method.choice_names.get("slot"), view.artifacts.get("predictions")
    if not slots or not path or not spec.place_field or config.selection != "dev":
        return None
    dev = find_files(config.task, spec, settings.data_folders, config.regime.source).dev
    if dev is None:
        return None
    right = [row.fields[spec.place_field] for row in read_rows(dev)]
    if set(right) != set(range(len(slots))):
        return None
    parquet = importlib.import_module("pyarrow.parquet")
    table = parquet.read_table(
        artifact_store(settings).fetch(path), columns=["task", "split", "index", "slot"]
    )
    told = [row for row in table.to_pylist() if (row["task"], row["split"]) == (spec.name, "dev")]
    if len(told) != len(right):
        raise DataError(
            f"{view.row.slug} predicted {counted(len(told), 'dev example')} and {dev.name} has "
            f"{len(right)}.",
            hint="The file was changed since; train again.",
        )
    seen = Counter((right[row["index"]], row["slot"]) for row in told)
    counts = tuple(tuple(seen[place, slot] for slot in slots) for place in range(len(slots)))
    hits = sum(counts[place][place] for place in range(len(slots)))
    return SlotsByPlace(slots, slots, counts, hits / len(right))
