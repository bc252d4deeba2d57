"""Make the position backbone: ``python -m core.backbones.position.make``; ``--folder`` elsewhere.

A BERT of 2 layers × 48 learns to name the class of the word behind a marker that stands at a
random place, with one seed and one thread. Cue words stand at the end and tell nothing. So a soft
prompt on the frozen backbone helps where it stands in front of the right word, and only there.
The same versions on the same kind of processor give the same bytes; others give other weights
that solve the same task.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel

from core.backbones.position.words import CLASSES, CUES, CUES_A_TEXT, MARKER, VOCABULARY

HERE = Path(__file__).parent
SEED = 0
UPDATES = 1500
BATCH = 128
RATE = 3e-3
FEWEST_WORDS, MOST_WORDS = 10, 22
MOST_POSITIONS = 40
WIDTH = 48
SPREAD = 0.1
TOLD_EVERY = 500


def token_id(word: str) -> int:
    """Return the id of a token."""
    return VOCABULARY.index(word)


class Teacher:
    """Draws texts with a marker in front of one word, and that word's class.

    Args:
        draw: CPU generator; the only source of chance.
    """

    def __init__(self, draw: torch.Generator) -> None:
        self._draw = draw
        self._words = torch.tensor([[token_id(w) for w in words] for words in CLASSES.values()])
        self._cues = torch.tensor([token_id(cue) for cues in CUES for cue in cues])

    def texts(self, rows: int, words: int) -> tuple[Tensor, Tensor]:
        """Return token ids (rows, words + cues + 3) and the classes to name (rows)."""
        kinds, each = self._words.shape
        classes = torch.randint(kinds, (rows, words), generator=self._draw)
        which = torch.randint(each, (rows, words), generator=self._draw)
        cues = torch.randint(len(self._cues), (rows, CUES_A_TEXT), generator=self._draw)
        place = torch.randint(words, (rows, 1), generator=self._draw)
        text = torch.cat([self._words[classes, which], self._cues[cues]], dim=1)
        column = torch.arange(text.shape[1] + 1)
        source = torch.where(column > place, column - 1, column).clamp(max=text.shape[1] - 1)
        marked = torch.where(column == place, token_id(MARKER), text.gather(1, source))
        first = torch.full((rows, 1), token_id("[CLS]"))
        last = torch.full((rows, 1), token_id("[SEP]"))
        return torch.cat([first, marked, last], dim=1), classes.gather(1, place)[:, 0]

    def length(self) -> int:
        """Draw how many words the texts of a batch have."""
        span = (FEWEST_WORDS, MOST_WORDS + 1)
        return int(torch.randint(*span, (1,), generator=self._draw))


def pooled(model: BertModel, ids: Tensor) -> Tensor:
    """Return the mean of the last hidden states (rows, width) without the marker's."""
    states: Tensor = model(input_ids=ids).last_hidden_state
    kept = (ids != token_id(MARKER)).float()[:, :, None]
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def train(updates: int = UPDATES, seed: int = SEED) -> tuple[BertModel, float]:
    """Train the backbone.

    Returns:
        The backbone, and the share of 4,000 new texts that its thrown-away head names right.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(VOCABULARY),
                hidden_size=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=2 * WIDTH,
                max_position_embeddings=MOST_POSITIONS,
                initializer_range=SPREAD,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        head = nn.Linear(WIDTH, len(CLASSES))
    trained = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=updates)
    teacher = Teacher(torch.Generator().manual_seed(seed))
    for update in range(updates):
        ids, classes = teacher.texts(BATCH, teacher.length())
        loss = cross_entropy(head(pooled(model, ids)), classes)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        if update % TOLD_EVERY == TOLD_EVERY - 1:
            sys.stdout.write(f"update {update + 1}: loss {loss.item():.4f}\n")
    right = 0
    with torch.no_grad():
        for _ in range(8):
            ids, classes = teacher.texts(500, teacher.length())
            right += int((head(pooled(model, ids)).argmax(dim=1) == classes).sum())
    return model, right / 4000


def tokenizer() -> Tokenizer:
    """Make the tokenizer: words between spaces."""
    ids = {word: index for index, word in enumerate(VOCABULARY)}
    made = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write config.json, model.safetensors and tokenizer.json."""
    parser = argparse.ArgumentParser(description="Make the position backbone.")
    parser.add_argument("--folder", type=Path, default=HERE)
    folder: Path = parser.parse_args(arguments).folder
    torch.set_num_threads(1)
    model, right = train()
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    weights = folder / "model.safetensors"
    weights.chmod(0o644)  # the library keeps them from everybody else
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    sys.stdout.write(f"names {100 * right:.1f} % right; sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
