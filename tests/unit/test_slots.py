"""Settings of slots: what a label says of them, and on which backbones border is one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from core.errors import ConfigError
from tests.method_tools import make_config, make_method, tiny_backbone

ALL_CHOSEN = {
    "position": "instance",
    "length": "instance",
    "representation": "instance",
    "selection": "sampled",
    "samples": 64,
}
METHOD_LABEL_WIDTH = 120


def slot_label(*slots: str | float, **fields: Any) -> str:
    return make_config("dynamic_prompt", place="slot", slots=slots, **fields).label


def test_a_label_names_the_slots() -> None:
    default = make_config("dynamic_prompt", place="slot")
    assert default.label == "adap_ins_pos (slots front, 50 %, border, end)"
    fixed = make_config("dynamic_prompt", position="fixed", place="slot", slot=0.5)
    assert fixed.label == "dynamic_prompt (fixed, slot 50 %)"


def test_labels_of_other_slots_differ_and_fit_their_column() -> None:
    shares = [n / 40 for n in range(1, 32)]
    sets: list[tuple[str | float, ...]] = [
        *itertools.permutations(("front", 0.5, "border", "end"), 3),
        *(("front", *shares[:count]) for count in range(1, 31)),
        ("end", *shares[:30]),
    ]
    labels = {slot_label(*slots, **ALL_CHOSEN) for slots in sets}
    assert len(labels) == len(sets)
    assert max(map(len, labels)) <= METHOD_LABEL_WIDTH


@pytest.mark.parametrize(
    "fields", [{}, {"position": "task"}, {"position": "fixed", "slot": "border"}]
)
def test_border_is_refused_where_tokens_do_not_say_which_text_they_belong_to(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match="do not say which text") as caught:
        make_method(tiny_backbone("roberta"), "dynamic_prompt", place="slot", **fields)
    assert "Leave border out" in caught.value.hint
    for family in ("bert", "electra"):
        make_method(tiny_backbone(family), "dynamic_prompt", place="slot", **fields)


def test_other_slots_and_cuts_stand_on_every_backbone() -> None:
    for fields in (
        {"place": "slot", "slots": ("front", 0.5, "end")},
        {"place": "slot", "position": "fixed", "slot": "end"},
        {"place": "cut"},
    ):
        make_method(tiny_backbone("roberta"), "dynamic_prompt", **fields)
