"""Which families of models the installed transformers knows; read from its files, not imported."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from core.errors import BackboneError

LISTS = ("models/auto/auto_mappings.py", "models/auto/configuration_auto.py")
"""Files of the library that name every family, as a string of its own."""


@lru_cache(maxsize=1)
def library_names() -> frozenset[str]:
    """Return the names in the library's lists of families; none where it is not installed."""
    found = importlib.util.find_spec("transformers")
    places = list(found.submodule_search_locations or ()) if found else []
    files = [Path(place) / name for place in places for name in LISTS]
    texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
    return frozenset(name for text in texts for name in re.findall(r'"([\w.-]+)"', text))


def require_known_family(family: str, place: str) -> None:
    """Check that the installed transformers can build a family's models.

    Args:
        family: ``model_type`` of config.json.
        place: Folder or Hub id, for the error.

    Raises:
        BackboneError: If it does not know the family. Where transformers is not installed, as
            beside a web page alone, nothing is refused.
    """
    names = library_names()
    if names and family not in names:
        raise BackboneError(
            f"config.json of {place} says model_type '{family}', which the installed version of "
            "transformers does not know.",
            hint="Correct model_type, or choose a backbone of another family, such as bert, "
            "roberta, t5 or gpt2.",
        )
