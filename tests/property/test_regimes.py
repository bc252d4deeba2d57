"""Draws and shares of any task."""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from core.regimes import Candidates
from core.regimes.few_shot import Config as FewShot
from core.regimes.multi_task import Config as MultiTask
from core.regimes.multi_task.config import POWERS

Sampling = Literal["proportional", "square_root", "uniform"]

samplings = st.sampled_from(sorted(POWERS))
sizes = st.lists(st.integers(1, 100_000), min_size=1, max_size=16)
lines = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 25)), min_size=1, max_size=90)


def candidates_of(found: list[tuple[int, int]]) -> Candidates:
    return Candidates(
        labels=[label for label, _ in found],
        keys=[f"{number} {line}" for number, line in enumerate(found)],
        groups=[f"group {group}" for _, group in found],
        num_labels=3,
    )


@settings(max_examples=300, deadline=None)
@given(samplings, sizes, st.integers(1, 50_000))
def test_updates_add_up_and_are_near_each_tasks_share(
    sampling: Sampling, found: list[int], total: int
) -> None:
    counts = MultiTask(sampling=sampling).updates_of(found, total)
    assert sum(counts) == max(total, len(found))
    assert min(counts) >= 1
    weights = [size ** POWERS[sampling] for size in found]
    shares = [total * weight / sum(weights) for weight in weights]
    if min(shares) >= 1:
        assert all(abs(count - share) < 1 for count, share in zip(counts, shares, strict=True))
    for size, count in zip(found, counts, strict=True):
        for other_size, other in zip(found, counts, strict=True):
            assert size <= other_size or count >= other or POWERS[sampling] == 0


@settings(max_examples=200, deadline=None)
@given(
    lines,
    st.integers(1, 12),
    st.sampled_from(["per_label", "in_all"]),
    st.sampled_from(["full", "same_size"]),
    st.integers(0, 5),
)
def test_a_draw_is_as_asked_or_refused_with_a_k_that_works(
    found: list[tuple[int, int]],
    k: int,
    count: Literal["per_label", "in_all"],
    dev: Literal["full", "same_size"],
    seed: int,
) -> None:
    candidates = candidates_of(found)
    regime = FewShot(k=k, count=count, dev=dev)
    try:
        drawn = regime.select(candidates, seed)
    except DataError as error:
        before, at_most, rest = str(error).partition("a k of at most ")
        if at_most and count == "per_label":
            smaller = int(rest.split()[0].rstrip("."))
            assert 1 <= smaller < k
            FewShot(k=smaller, count=count, dev=dev).select(candidates, seed)
        assert before
        return
    parts = [drawn.train] if drawn.dev is None else [drawn.train, drawn.dev]
    assert len(parts) == (2 if dev == "same_size" else 1)
    for indices in parts:
        assert indices == sorted(set(indices))
        if count == "per_label":
            assert Counter(candidates.labels[i] for i in indices) == {0: k, 1: k, 2: k}
        else:
            groups = {candidates.groups[i] for i in indices}
            assert len(groups) == k
            assert len(indices) == sum(group in groups for group in candidates.groups)
    if drawn.dev is not None:
        assert not {candidates.groups[i] for i in drawn.train} & {
            candidates.groups[i] for i in drawn.dev
        }


@settings(max_examples=100, deadline=None)
@given(lines, st.integers(1, 4), st.randoms(use_true_random=False))
def test_no_order_of_the_lines_changes_a_draw(
    found: list[tuple[int, int]], k: int, rng: random.Random
) -> None:
    straight = candidates_of(found)
    order = list(range(len(found)))
    rng.shuffle(order)
    parts = ([part[i] for i in order] for part in (straight.labels, straight.keys, straight.groups))
    other = Candidates(*parts, 3)
    regime = FewShot(k=k, dev="same_size")
    drawn = []
    for candidates in (straight, other):
        try:
            one = regime.select(candidates, 1)
        except DataError as error:
            drawn.append(str(error))
        else:
            drawn.append(
                repr([sorted(candidates.keys[i] for i in s) for s in (one.train, one.dev or [])])
            )
    assert drawn[0] == drawn[1]
