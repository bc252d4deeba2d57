"""Texts to token ids, once, with the ``tokenizers`` library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding as RawEncoding
from tokenizers import Tokenizer

from core.data.examples import Example
from core.errors import BackboneError
from core.methods._config import AnswerForm
from core.metrics.judged import Kind

LENGTH_CLASSES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
ROWS_AT_A_TIME = 1024
Item = TypeVar("Item")
PADDING_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")
END_TOKENS = ("</s>", "<|endoftext|>", "<eos>", "[SEP]")
MASK_TOKENS = ("[MASK]", "<mask>")
UNKNOWN_TOKENS = ("[UNK]", "<unk>")
SENTINEL = "<extra_id_0>"
CUE = ":"
"""What a causal language model continues with its answer; behind an end token it would begin
another text."""


def length_class(num_tokens: int) -> int:
    """Smallest length class that holds so many tokens; rows are padded to it.

    Raises:
        ValueError: If there is none.
    """
    for size in LENGTH_CLASSES:
        if num_tokens <= size:
            return size
    raise ValueError(f"{num_tokens} tokens exceed the largest length class {LENGTH_CLASSES[-1]}")


@dataclass(frozen=True)
class Encoding:
    """Tokens of one input.

    Attributes:
        ids: Token ids with the special tokens.
        types: Segment id of each token.
        tokens: Tokens as text.
        total: Tokens that the whole text has; more than ``len(ids)`` when it was cut.
        special: Whether the tokenizer added the token by itself.
        places: Where each token stands: its segment, -1 for a special token, and there its first
            character and the one after its last.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    tokens: tuple[str, ...]
    total: int
    special: tuple[bool, ...] = ()
    places: tuple[tuple[int, int, int], ...] = ()

    @property
    def used(self) -> int:
        """Tokens that are used, a count."""
        return len(self.ids)


def choice_mask(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where a table of choices holds one: True in the first ``sizes[i]`` columns of row i.

    Read row by row its places are the rows of the examples in order.
    """
    mask: NDArray[np.bool_] = np.arange(sizes.max(initial=0)) < sizes[:, None]
    return mask


@dataclass(frozen=True)
class TokenisedSplit:
    """Tokens of all rows of a split, one after the other; an example's rows stand together.

    Attributes:
        ids: Token ids of all rows, shape (tokens,).
        types: Segment ids, shape (tokens,).
        offsets: Row i is ``ids[offsets[i]:offsets[i + 1]]``; shape (rows + 1,).
        unit_offsets: Example i is the rows ``unit_offsets[i]`` to ``unit_offsets[i + 1] - 1``;
            shape (examples + 1,).
        labels: Class index of each example, or of the first right choice, shape (examples,).
        right: True at the rows of right choices, shape (rows,); False where classes are predicted.
        kind: ``classes``: one row an example; ``choices``: one row a choice.
        truncated: Examples of which a row was cut, a count.
        pad_id: Token id for padding.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    offsets: NDArray[np.int64]
    unit_offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    kind: Kind
    truncated: int
    pad_id: int

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, shape (rows,)."""
        return np.diff(self.offsets)

    @cached_property
    def unit_sizes(self) -> NDArray[np.int64]:
        """Rows of each example, shape (examples,)."""
        return np.diff(self.unit_offsets)

    @cached_property
    def unit_lengths(self) -> NDArray[np.int64]:
        """Tokens of each example's longest row, shape (examples,)."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        longest: NDArray[np.int64] = np.maximum.reduceat(self.lengths, self.unit_offsets[:-1])
        return longest

    @cached_property
    def is_choice(self) -> NDArray[np.bool_]:
        """True where an example has a choice, shape (examples, most choices)."""
        return choice_mask(self.unit_sizes)

    @property
    def num_rows(self) -> int:
        """Rows of all examples, a count."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.labels)

    def rows_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of some examples, in the order of ``units``, each example's together."""
        if self.kind == "classes":
            return units
        sizes = self.unit_sizes[units]
        ends = np.cumsum(sizes)
        shift = self.unit_offsets[units] - (ends - sizes)
        rows: NDArray[np.int64] = np.repeat(shift, sizes) + np.arange(int(sizes.sum()))
        return rows


class TextTokenizer:
    """A backbone's tokenizer, read from its tokenizer.json.

    Where a verbalizer reads out, every row holds the place of the answer: a masked language model's
    mask behind the text and in front of the last special token, or a causal one's ``CUE`` as the
    last token; texts are cut so that both stay.

    Args:
        folder: Folder of the backbone.
        form: Where its language-model head says the answer; empty: it says none.

    Raises:
        BackboneError: If tokenizer.json is missing or unreadable, or lacks what an answer needs.
    """

    def __init__(self, folder: Path, form: AnswerForm = "") -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise BackboneError(
                f"No tokenizer.json in {folder}.", hint="Save the fast tokenizer beside the model."
            )
        self._plain = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        self._plain.no_padding()
        self._plain.no_truncation()
        self._cutting = Tokenizer.from_str(self._plain.to_str())
        config = folder / "tokenizer_config.json"
        self._config = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        self.pad_id = self._find_padding()
        added = self._plain.encode("a").special_tokens_mask
        self.lead = int(added[0] == 1) if added else 0
        """Special tokens in front of every text, 0 or 1."""
        self._end = () if added and added[-1] else (self._find_end(form),)
        self._mask = (self._answer_token("mask_token", MASK_TOKENS),) if form == "masked" else ()
        self.sentinel = self._answer_token("", (SENTINEL,)) if form == "sequence" else None
        """Token in front of the answer in the decoder of an encoder-decoder, else None."""

    def _find_padding(self) -> int:
        return self._find_token("pad_token", PADDING_TOKENS) or 0

    def _find_end(self, form: AnswerForm) -> int:
        """Find the token that is put behind every text where the tokenizer puts none.

        What a decoder has read is read out there, so that it also stands behind a prompt which
        follows the text.
        """
        cue = self.first_id(CUE, before="a") if form == "causal" else None
        if cue is not None:
            return cue
        token = self._find_token("eos_token", END_TOKENS)
        return self.pad_id if token is None else token

    def _answer_token(self, name: str, usual: Sequence[str]) -> int:
        found = self._find_token(name, usual)
        if found is None:
            raise BackboneError(
                f"tokenizer.json has no token {' or '.join(usual)}, at which this language model "
                "would answer.",
                hint="Use read_out: head, or a tokenizer that has it.",
            )
        return found

    def first_id(self, text: str, before: str) -> int | None:
        """Return the first token that holds a part of a text behind another one.

        Args:
            text: The text; not empty.
            before: What stands in front of it.

        Returns:
            None where the tokenizer does not know it.
        """
        first = next(iter(self._behind(text, before)), None)
        return None if first == self._find_token("unk_token", UNKNOWN_TOKENS) else first

    def pieces(self, text: str, before: str) -> tuple[int, ...]:
        """Return the tokens that hold a part of a text behind another one; see ``first_id``.

        Returns:
            None of them where the tokenizer does not know one.
        """
        found = self._behind(text, before)
        return () if self._find_token("unk_token", UNKNOWN_TOKENS) in found else found

    def _behind(self, text: str, before: str) -> tuple[int, ...]:
        raw = self._plain.encode(before + text, add_special_tokens=False)
        places = zip(raw.ids, raw.offsets, strict=True)
        return tuple(token for token, (_, end) in places if end > len(before))

    def token(self, index: int) -> str:
        """Return a token as text."""
        return self._plain.id_to_token(index) or ""

    def _find_token(self, name: str, usual: Sequence[str]) -> int | None:
        declared = self._config.get(name)
        if isinstance(declared, dict):
            declared = declared.get("content")
        for text in (*([declared] if isinstance(declared, str) else []), *usual):
            token = self._plain.token_to_id(text)
            if token is not None:
                return int(token)
        return None

    def _encode(self, inputs: Sequence[tuple[str, ...]], max_tokens: int) -> list[RawEncoding]:
        pairs = [segments[0] if len(segments) == 1 else tuple(segments) for segments in inputs]
        room = max_tokens - len(self._mask) - len(self._end)
        self._cutting.enable_truncation(room, strategy="longest_first")
        return list(self._cutting.encode_batch(pairs))

    def _completed(self, made: Sequence[Item], mask: Item, end: Item) -> list[Item]:
        """Put what belongs to the mask in front of the last special token, and to the end last."""
        cut = len(made) if self._end else len(made) - 1
        return [*made[:cut], *[mask] * len(self._mask), *made[cut:], *[end] * len(self._end)]

    def _ids(self, raw: RawEncoding) -> list[int]:
        mask, end = (next(iter(added), 0) for added in (self._mask, self._end))
        return self._completed(raw.ids, mask, end)

    def _types(self, raw: RawEncoding) -> list[int]:
        last = raw.type_ids[-1] if raw.type_ids else 0
        return self._completed(raw.type_ids, last, last)

    def encode(self, segments: tuple[str, ...], max_tokens: int) -> Encoding:
        """Tokenise one input, cut to ``max_tokens`` with special tokens counted."""
        pair = segments[1] if len(segments) > 1 else None
        total = len(self._ids(self._plain.encode(segments[0], pair)))
        raw = self._encode([segments], max_tokens)[0]
        ids = self._ids(raw)
        special = [bool(added) for added in raw.special_tokens_mask]
        of_segments = [-1 if number is None else number for number in raw.sequence_ids]
        places = [(segment, *span) for segment, span in zip(of_segments, raw.offsets, strict=True)]
        return Encoding(
            ids=tuple(ids),
            types=tuple(self._types(raw)),
            tokens=tuple(self.token(index) for index in ids),
            total=total,
            special=tuple(self._completed(special, True, True)),
            places=tuple(self._completed(places, (-1, 0, 0), (-1, 0, 0))),
        )

    def count(self, text: str) -> int:
        """Count a text's tokens without special ones and without a limit."""
        return len(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_all(self, examples: Sequence[Example], max_tokens: int) -> TokenisedSplit:
        """Tokenise a split, every row cut to ``max_tokens`` with special tokens counted.

        Args:
            examples: Examples of one kind, each with at least one row.
            max_tokens: Tokens of a row at most, a count.
        """
        sizes = np.asarray([len(example.rows) for example in examples], dtype=np.int64)
        unit_offsets = _offsets(sizes)
        right = np.zeros(int(unit_offsets[-1]), dtype=np.bool_)
        for start, example in zip(unit_offsets.tolist(), examples, strict=False):
            right[[start + choice for choice in example.right]] = True
        rows = [row for example in examples for row in example.rows]
        ids, types, lengths, is_cut = self._encode_rows(rows, max_tokens)
        units = np.repeat(np.arange(len(examples)), sizes)
        return TokenisedSplit(
            ids=ids,
            types=types,
            offsets=_offsets(lengths),
            unit_offsets=unit_offsets,
            labels=np.asarray([example.label for example in examples], dtype=np.int64),
            right=right,
            kind="choices" if any(example.choices for example in examples) else "classes",
            truncated=len(np.unique(units[is_cut])),
            pad_id=self.pad_id,
        )

    def _encode_rows(
        self, rows: Sequence[tuple[str, ...]], max_tokens: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]:
        """Return ids and segment ids of all rows, their lengths, and which of them were cut.

        The library's own results are a thousand times as large as the numbers in them, so only
        those of some rows are held at a time.
        """
        ids, types = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
        lengths: list[int] = []
        is_cut: list[bool] = []
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            for item in self._encode(rows[start : start + ROWS_AT_A_TIME], max_tokens):
                ids.append(np.asarray(self._ids(item), np.int32))
                types.append(np.asarray(self._types(item), np.int32))
                lengths.append(len(ids[-1]))
                is_cut.append(bool(item.overflowing))
        return (
            np.concatenate(ids),
            np.concatenate(types),
            np.asarray(lengths, dtype=np.int64),
            np.asarray(is_cut, dtype=np.bool_),
        )


def _offsets(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of several parts starts, and where the last one ends."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets
