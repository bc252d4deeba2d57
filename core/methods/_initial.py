"""Initial prompt vectors, in float32 on the CPU.

Random numbers come from CPU generators that the caller hands in, so that a draw is the same on
every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.backbones.load import Backbone
from core.data.tokens import TextTokenizer
from core.data.words import word_pieces
from core.methods._soft_prompt import Init

UNIFORM_BOUND = 0.5


def initial_vectors(
    count: int, init: Init, backbone: Backbone, draw: torch.Generator, words: Sequence[str] = ()
) -> Float[Tensor, "count width"]:
    """Make the first values of prompt vectors.

    With ``label_words`` the first vectors are the embeddings of the words, one a word, in the order
    given; of a word in several sub-tokens it is their mean (arXiv 2104.08691, section 3.2). Where
    there are fewer words than vectors, the others are what ``vocabulary`` draws in their place;
    where there are more, the last words have none. Without any word nothing but the draw is left,
    which is all that a model needs whose values are read from a file.

    Args:
        count: Vectors.
        init: ``vocabulary``: word embeddings of random entries; ``label_words``: see above;
            ``uniform``: in -0.5..0.5.
        backbone: Whose vocabulary it is.
        draw: CPU generator.
        words: Label words; only for ``label_words``.

    Raises:
        ConfigError: If the tokenizer does not know one of the words.
    """
    facts = backbone.facts
    if init == "uniform":
        return torch.rand(count, facts.width, generator=draw) * 2 * UNIFORM_BOUND - UNIFORM_BOUND
    vectors = _embedded(torch.randint(facts.vocab, (1, count), generator=draw), backbone)
    if init == "label_words" and words:
        named = _word_vectors(words, backbone)[:count]
        vectors[: len(named)] = named
    return vectors


def first_vectors(count: int, backbone: Backbone) -> Float[Tensor, "count width"]:
    """Take the word embeddings of the first entries of the vocabulary.

    Args:
        count: Vectors; where the vocabulary is smaller it starts over.
        backbone: Whose vocabulary it is.
    """
    return _embedded(torch.arange(count)[None] % backbone.facts.vocab, backbone)


def _word_vectors(words: Sequence[str], backbone: Backbone) -> Float[Tensor, "words width"]:
    language = backbone.language
    tokenizer = language.tokenizer if language else TextTokenizer(backbone.folder)
    pieces = word_pieces(words, tokenizer, backbone.name)
    return torch.stack([_embedded(torch.tensor([ids]), backbone).mean(dim=0) for ids in pieces])


def _embedded(entries: Int[Tensor, "1 count"], backbone: Backbone) -> Float[Tensor, "count width"]:
    with torch.no_grad():
        return backbone.embed(entries.to(backbone.device))[0].float().cpu().clone()
