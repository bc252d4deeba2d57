"""Texts to token ids, once, with the ``tokenizers`` library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding as RawEncoding
from tokenizers import Tokenizer

from core.data.examples import Example
from core.errors import BackboneError

LENGTH_CLASSES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
PADDING_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")


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
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    tokens: tuple[str, ...]
    total: int

    @property
    def used(self) -> int:
        """Tokens that are used, a count."""
        return len(self.ids)


@dataclass(frozen=True)
class TokenisedSplit:
    """Tokens of all examples of a split, one after the other.

    Attributes:
        ids: Token ids of all examples, shape (tokens,).
        types: Segment ids, shape (tokens,).
        offsets: Example i is ``ids[offsets[i]:offsets[i + 1]]``; shape (examples + 1,).
        labels: Class index of each example, shape (examples,).
        truncated: Examples that were cut, a count.
        pad_id: Token id for padding.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    truncated: int
    pad_id: int

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, shape (examples,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.labels)


class TextTokenizer:
    """A backbone's tokenizer, read from its tokenizer.json.

    Args:
        folder: Folder of the backbone.

    Raises:
        BackboneError: If tokenizer.json is missing or unreadable.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise BackboneError(
                f"No tokenizer.json in {folder}.", hint="Save the fast tokenizer beside the model."
            )
        self._plain = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        self._plain.no_padding()
        self._plain.no_truncation()
        self._cutting = Tokenizer.from_str(self._plain.to_str())
        self.pad_id = self._find_padding(folder)

    def _find_padding(self, folder: Path) -> int:
        config = folder / "tokenizer_config.json"
        names: list[str] = []
        if config.is_file():
            declared = json.loads(config.read_text(encoding="utf-8")).get("pad_token")
            if isinstance(declared, dict):
                declared = declared.get("content")
            if isinstance(declared, str):
                names.append(declared)
        for name in (*names, *PADDING_TOKENS):
            token = self._plain.token_to_id(name)
            if token is not None:
                return int(token)
        return 0

    def _encode(self, inputs: Sequence[tuple[str, ...]], max_tokens: int) -> list[RawEncoding]:
        pairs = [segments[0] if len(segments) == 1 else tuple(segments) for segments in inputs]
        self._cutting.enable_truncation(max_tokens, strategy="longest_first")
        return list(self._cutting.encode_batch(pairs))

    def encode(self, segments: tuple[str, ...], max_tokens: int) -> Encoding:
        """Tokenise one input, cut to ``max_tokens`` with special tokens counted."""
        pair = segments[1] if len(segments) > 1 else None
        total = len(self._plain.encode(segments[0], pair).ids)
        raw = self._encode([segments], max_tokens)[0]
        return Encoding(tuple(raw.ids), tuple(raw.type_ids), tuple(raw.tokens), total)

    def encode_all(self, examples: Sequence[Example], max_tokens: int) -> TokenisedSplit:
        """Tokenise a split, every input cut to ``max_tokens`` with special tokens counted."""
        raw = self._encode([example.segments for example in examples], max_tokens)
        offsets = np.zeros(len(raw) + 1, dtype=np.int64)
        np.cumsum([len(item.ids) for item in raw], out=offsets[1:])
        empty = np.zeros(0, dtype=np.int32)
        return TokenisedSplit(
            ids=np.concatenate([empty, *(np.asarray(item.ids, np.int32) for item in raw)]),
            types=np.concatenate([empty, *(np.asarray(item.type_ids, np.int32) for item in raw)]),
            offsets=offsets,
            labels=np.asarray([example.label for example in examples], dtype=np.int64),
            truncated=sum(1 for item in raw if item.overflowing),
            pad_id=self.pad_id,
        )
