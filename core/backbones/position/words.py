"""Words of the position task and of the backbone that was made for it."""

from __future__ import annotations

CLASSES: dict[str, tuple[str, ...]] = {
    "animal": ("ant", "bat", "bee", "cat", "cow", "dog", "elk", "fox", "hen", "owl", "pig", "rat"),
    "food": ("bun", "egg", "fig", "ham", "jam", "nut", "oat", "pea", "pie", "rye", "tea", "yam"),
    "land": ("bay", "bog", "dew", "elm", "fir", "fog", "ice", "mud", "oak", "sea", "sky", "sun"),
    "tool": ("awl", "axe", "bit", "hoe", "jig", "key", "nib", "pan", "peg", "pin", "rod", "saw"),
}
"""Class to its words."""

CUES: tuple[tuple[str, ...], ...] = tuple(
    tuple(consonant + vowel for vowel in "aio") for consonant in "bcdfghjklmnpqrstvwxyz"
)
"""Cue words by the number of the place that they tell; the backbone knows them without a place."""

CUES_A_TEXT = 3
MARKER = "[MARK]"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MARKER)
VOCABULARY: tuple[str, ...] = (
    *SPECIAL,
    *(word for words in CLASSES.values() for word in words),
    *(cue for cues in CUES for cue in cues),
)
"""All tokens in the order of their ids."""
