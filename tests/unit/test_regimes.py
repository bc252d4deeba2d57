"""Training examples are drawn by the data seed, whatever the order of the file."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Literal, get_args

import pytest
from pydantic import ValidationError

from core.data.tasks import candidates
from core.errors import DataError
from core.methods import Axis
from core.regimes import REGIMES, Candidates, Draw, RegimeConfig
from core.regimes.few_shot import Config as FewShot
from core.regimes.full_data import Config as FullData
from core.regimes.multi_task import Config as MultiTask
from tests.real_data import real_task

LABELS = [0] * 50 + [1] * 30 + [2] * 20
KEYS = [f"key {i}" for i in range(100)]
NAMES = ("red", "green", "blue")
CANDIDATES = Candidates(LABELS, KEYS, KEYS, 3, NAMES)

# Four answers a passage, two of each label.
PASSAGES = Candidates(
    labels=[0, 1, 0, 1] * 20,
    keys=[f"answer {i}" for i in range(80)],
    groups=[f"passage {i // 4}" for i in range(80)],
    num_labels=2,
    names=("no", "yes"),
)


def shuffled(given: Candidates, seed: int) -> tuple[Candidates, list[int]]:
    order = list(range(len(given.labels)))
    random.Random(seed).shuffle(order)
    parts = ([part[i] for i in order] for part in (given.labels, given.keys, given.groups))
    return Candidates(*parts, given.num_labels, given.names), order


def keys(given: Candidates, drawn: Draw) -> tuple[set[str], set[str]]:
    return {given.keys[i] for i in drawn.train}, {given.keys[i] for i in drawn.dev or ()}


def groups(given: Candidates, indices: list[int] | None) -> set[str]:
    return {given.groups[i] for i in indices or ()}


def test_few_shot_takes_k_of_each_label() -> None:
    drawn = FewShot(k=7).select(CANDIDATES, data_seed=1)
    assert Counter(LABELS[i] for i in drawn.train) == {0: 7, 1: 7, 2: 7}
    assert drawn.dev is None


def test_per_label_spreads_over_as_many_groups_as_possible() -> None:
    drawn = FewShot(k=20).select(PASSAGES, data_seed=1).train
    assert Counter(PASSAGES.labels[i] for i in drawn) == {0: 20, 1: 20}
    assert len(groups(PASSAGES, drawn)) == 20


def test_in_all_takes_whole_groups() -> None:
    drawn = FewShot(k=5, count="in_all").select(PASSAGES, data_seed=1).train
    assert len(groups(PASSAGES, drawn)) == 5
    assert len(drawn) == 20


@pytest.mark.parametrize("count", ["per_label", "in_all"])
@pytest.mark.parametrize("given", [CANDIDATES, PASSAGES], ids=["single", "grouped"])
def test_true_few_shot_draws_a_dev_of_the_same_size_from_other_groups(
    count: str, given: Candidates
) -> None:
    regime = FewShot.model_validate({"k": 9, "count": count, "dev": "same_size"})
    drawn = regime.select(given, data_seed=3)
    plain = FewShot.model_validate({"k": 9, "count": count}).select(given, data_seed=3)
    assert drawn.train == plain.train
    assert drawn.dev is not None
    assert len(drawn.dev) == len(drawn.train)
    assert not groups(given, drawn.train) & groups(given, drawn.dev)
    if count == "per_label":
        of_dev = Counter(given.labels[i] for i in drawn.dev)
        assert set(of_dev.values()) == {9}


def test_few_shot_refuses_a_class_that_is_too_small() -> None:
    with pytest.raises(DataError, match=r"'blue' has only 20 in train\. .* at most 20"):
        FewShot(k=21).select(CANDIDATES, data_seed=1)
    with pytest.raises(
        DataError, match=r"of which 9 are left for dev\. .* at most 10 or dev: full"
    ):
        FewShot(k=11, dev="same_size").select(CANDIDATES, data_seed=1)
    lacking = Candidates([0, 0], ["a", "b"], ["a", "b"], 2)
    with pytest.raises(DataError, match=r"class number 2 has only 0 in train\. Use full_data"):
        FewShot(k=1).select(lacking, data_seed=1)


def test_few_shot_in_all_refuses_too_few_groups() -> None:
    with pytest.raises(DataError, match=r"12 training and 12 dev groups.* only 20\. .* most 10"):
        FewShot(k=12, count="in_all", dev="same_size").select(PASSAGES, data_seed=1)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"only class '\w+'; .* larger k"):
        FewShot(k=1, count="in_all").select(CANDIDATES, data_seed=1)
    one = Candidates([1] * 32, KEYS[:32], KEYS[:32], 2, ("different", "same"))
    with pytest.raises(DataError, match=r"only class 'same'; .* Sample 32 from train"):
        FewShot(draw="fewglue").select(one, data_seed=1)


def test_choices_without_labels_are_counted_in_all() -> None:
    entities = Candidates([3, 0, 7, 1] * 10, KEYS[:40], KEYS[:40], 0)
    with pytest.raises(DataError, match="count: in_all"):
        FewShot(k=2).select(entities, data_seed=1)
    drawn = FewShot(k=8, count="in_all", dev="same_size").select(entities, data_seed=1)
    assert len(drawn.train) == len(drawn.dev or ()) == 8


def test_fewglue_is_32_and_32_and_nothing_else() -> None:
    regime = FewShot(draw="fewglue")
    assert (regime.k, regime.count, regime.dev, regime.source) == (
        32,
        "in_all",
        "same_size",
        "fewglue",
    )
    assert FewShot.model_validate(regime.model_dump()) == regime
    assert regime.select(CANDIDATES, data_seed=7) == Draw(list(range(100)))
    for given in ({"k": 16}, {"count": "per_label"}, {"dev": "full"}):
        with pytest.raises(ValidationError, match="leave k, count and dev out"):
            FewShot.model_validate({"draw": "fewglue", **given})


def test_full_data_takes_all_or_a_stratified_cut() -> None:
    assert FullData().select(CANDIDATES, data_seed=0).train == list(range(100))
    chosen = FullData(max_train=40).select(CANDIDATES, data_seed=0).train
    assert Counter(LABELS[i] for i in chosen) == {0: 20, 1: 12, 2: 8}


@pytest.mark.parametrize(
    "regime",
    [
        FewShot(k=5),
        FewShot(k=5, dev="same_size"),
        FewShot(k=9, count="in_all", dev="same_size"),
        FullData(max_train=33),
        MultiTask(max_train=33),
    ],
    ids=lambda regime: regime.label,
)
@pytest.mark.parametrize("given", [CANDIDATES, PASSAGES], ids=["single", "grouped"])
def test_the_same_seed_draws_the_same_examples_in_any_order(
    regime: RegimeConfig, given: Candidates
) -> None:
    straight = keys(given, regime.select(given, data_seed=4))
    for seed in range(5):
        other, _ = shuffled(given, seed)
        assert keys(other, regime.select(other, data_seed=4)) == straight
    assert keys(given, regime.select(given, data_seed=5)) != straight


@pytest.mark.parametrize("name", ["cb", "copa", "multirc", "rte", "wic", "wsc"])
def test_real_few_shot_draws_are_balanced_and_their_groups_apart(name: str) -> None:
    data = real_task(name, selection="dev")
    found = candidates(data)
    k = 6 if name == "cb" else 32
    drawn = FewShot(k=k, dev="same_size").select(found, data_seed=2)
    for indices in (drawn.train, drawn.dev or []):
        assert Counter(found.labels[i] for i in indices) == dict.fromkeys(
            range(len(data.labels)), k
        )
    assert not groups(found, drawn.train) & groups(found, drawn.dev)


def test_the_one_class_of_fewglues_wsc_is_refused_with_the_way_out() -> None:
    data = real_task("wsc", selection="dev", source="fewglue")
    with pytest.raises(DataError, match=r"only class 'same'.* count: in_all, k: 32"):
        FewShot(draw="fewglue").select(candidates(data), data_seed=0)


@pytest.mark.parametrize(
    ("regime", "label"),
    [
        (FewShot(k=32, dev="same_size"), "few_shot (32 per label, dev 32 per label)"),
        (FewShot(), "few_shot (16 per label, full dev)"),
        (FewShot(k=8, count="in_all"), "few_shot (8 in all, full dev)"),
        (FewShot(draw="fewglue"), "few_shot (FewGLUE's 32, dev FewGLUE's 32)"),
        (MultiTask(own=("position",)), "multi_task (square_root, own position)"),
        (MultiTask(role="single"), "single-task control (square_root)"),
    ],
)
def test_labels_say_everything(regime: RegimeConfig, label: str) -> None:
    assert regime.label == label


def test_the_longest_label_fits_its_column() -> None:
    most, own = 10_000_000, get_args(Axis)
    roles: tuple[Literal["joint", "single"], ...] = ("joint", "single")
    longest = [
        *(
            MultiTask(sampling="proportional", own=axes, max_train=most, role=role)
            for count in range(len(own) + 1)
            for axes in itertools.combinations(own, count)
            for role in roles
        ),
        FewShot(k=10_000, dev="same_size"),
    ]
    assert max(len(regime.label) for regime in longest) <= 80
    joint = [regime.label for regime in longest if regime.is_joint]
    assert len(set(joint)) == len(joint) == 2 ** len(own)


def test_own_axes_are_a_set_in_one_order() -> None:
    regime = MultiTask.model_validate({"own": ["position", "vectors"]})
    assert regime == MultiTask(own=("vectors", "position"))
    with pytest.raises(ValidationError, match="twice"):
        MultiTask.model_validate({"own": ["vectors", "vectors"]})


@pytest.mark.parametrize(
    ("sampling", "counts"),
    [
        ("proportional", [80, 40, 30]),
        ("square_root", [65, 46, 39]),
        ("uniform", [50, 50, 50]),
    ],
)
def test_updates_are_shared_out_by_size(sampling: str, counts: list[int]) -> None:
    regime = MultiTask.model_validate({"sampling": sampling})
    assert regime.updates_of([800, 400, 300], 150) == counts


def test_a_tiny_task_gets_one_update_and_the_others_give_it_up() -> None:
    regime = MultiTask(sampling="proportional")
    assert regime.updates_of([1, 1, 27_000], 10) == [1, 1, 8]
    assert regime.updates_of([5, 5, 5], 2) == [1, 1, 1]
    with pytest.raises(ValueError, match="needs training examples"):
        regime.updates_of([10, 0], 5)


def test_every_regime_is_discovered() -> None:
    assert set(REGIMES) == {"full_data", "few_shot", "multi_task"}
