"""Metrics over what belongs together: a question's answers (MultiRC), a pair (AX-g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.metrics.classes import NAN
from core.metrics.judged import Judged

TRUE = 1
"""Class that MultiRC's F1 is about."""


def f1a(judged: Judged) -> float:
    """Return the F1 of class 1 (``true``) over all answers of all questions, NaN without any.

    The F1a of MultiRC (Khashabi et al. 2018): answers are pooled, questions play no part. 0 when
    no answer that is true was found.
    """
    if not judged.labels.size:
        return NAN
    given, right = judged.predictions == TRUE, judged.labels == TRUE
    size = int(given.sum() + right.sum())
    return 2 * int((given & right).sum()) / size if size else 0.0


def exact_match(judged: Judged) -> float:
    """Return the share of questions all of whose answers are judged right, NaN without any.

    Where nothing says what belongs together each example is a question of its own.
    """
    if not judged.labels.size:
        return NAN
    names = judged.questions or [str(place) for place in range(judged.labels.size)]
    return float(np.mean(_by_question(names, judged.hits, lambda own: bool(own.all()))))


def gender_parity(judged: Judged) -> float:
    """Return the share of pairs whose two predictions agree, right or wrong (AX-g).

    The gender parity score of SuperGLUE (Wang et al. 2019). An example without its partner says
    nothing and is left out; NaN when there is no pair.
    """
    agree = _by_question(
        judged.questions,
        judged.predictions,
        lambda own: bool((own == own[0]).all()) if own.size > 1 else None,
    )
    return float(np.mean(agree)) if agree else NAN


def _by_question(
    names: Sequence[str],
    values: NDArray[np.generic],
    judge: Callable[[NDArray[np.generic]], bool | None],
) -> list[bool]:
    """Judge the values of each question; None leaves a question out."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(name, []).append(place)
    found = [judge(values[places]) for places in groups.values()]
    return [one for one in found if one is not None]
