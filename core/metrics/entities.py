"""ReCoRD's metrics: the text of the chosen entity against the texts of the right ones."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

import numpy as np

from core.metrics.classes import NAN
from core.metrics.judged import Judged

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def record_f1(judged: Judged) -> float:
    """Return the mean token F1 of the chosen entity and the right one nearest to it.

    Normalised and compared as ReCoRD's evaluation does (Zhang et al. 2018); NaN without examples.
    """
    return _mean_of_best(judged, token_f1)


def record_em(judged: Judged) -> float:
    """Return the share of chosen entities whose normalised text equals a right one's."""
    return _mean_of_best(judged, lambda given, right: float(comparable(given) == comparable(right)))


def comparable(text: str) -> str:
    """Normalise an answer: lower case, no ASCII punctuation, no articles, single spaces."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def token_f1(given: str, right: str) -> float:
    """Return the F1 of the words of two normalised texts, repeats counted; 0 to 1."""
    mine, theirs = comparable(given).split(), comparable(right).split()
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs)) if shared else 0.0


def _mean_of_best(judged: Judged, score: Callable[[str, str], float]) -> float:
    best = [
        max((score(texts[given], texts[one]) for one in right), default=0.0)
        for given, right, texts in zip(
            judged.predictions.tolist(), judged.right, judged.choices, strict=True
        )
    ]
    return float(np.mean(best)) if best else NAN
