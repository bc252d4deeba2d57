"""The position task beside its right places: shares of right slots, and what an oracle reaches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.backbones.load import Backbone, load_backbone
from core.backbones.position.words import CLASSES, CUES, CUES_A_TEXT, VOCABULARY
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice
from core.data.places import BUNDLED_FOLDER
from core.methods._build import build_method
from core.methods._config import MethodConfig
from core.methods._marginal import marginal_loss
from core.methods._module import BackboneInputs, Choice, ChoosingMethod, SelectorNoise, TokenBatch
from core.training.model import new_head
from core.training.schedules import rate_factor

FOUR_SLOTS = ("front", 0.25, 0.5, 0.7)
RATES = {"head": 1e-2, "prompt": 3e-2, "selector": 1e-1}
SLOTS: dict[str, Any] = {
    "kind": "dynamic_prompt",
    "place": "slot",
    "slots": list(FOUR_SLOTS),
    "num_virtual_tokens": 1,
    "init": "uniform",
    "feature": "embedding_mean",
    "learning_rates": RATES,
}
Rows = tuple[Tensor, Tensor, Tensor]


def read(split: str) -> list[dict[str, Any]]:
    """Rows of a split of the bundled task."""
    text = (BUNDLED_FOLDER / "position" / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def right_share(predictions: Path, slots: Sequence[str], split: str = "test") -> float:
    """Share of a split's rows, in percent, whose chosen slot is the one that the cue tells."""
    table = pq.read_table(predictions, filters=[("split", "==", split)])  # type: ignore[no-untyped-call]
    places = [row["place"] for row in read("val" if split == "dev" else split)]
    chosen = table.to_pylist()
    assert len(chosen) == len(places)
    return 100 * sum(row["slot"] == slots[places[row["index"]]] for row in chosen) / len(places)


def position_backbone() -> Backbone:
    return load_backbone(BackboneChoice(name="position"), offline=True)


def tensors(rows: Sequence[dict[str, Any]]) -> Rows:
    """Token ids, classes and places; all texts of a task have the same number of words."""
    number = {word: index for index, word in enumerate(VOCABULARY)}
    ids = [[number[w] for w in ("[CLS]", *row["text"].split(), "[SEP]")] for row in rows]
    classes = [list(CLASSES).index(row["label"]) for row in rows]
    return torch.tensor(ids), torch.tensor(classes), torch.tensor([row["place"] for row in rows])


def texts(count: int, words: int, deciding: Sequence[int], seed: int) -> Rows:
    """Draw texts of a task with other places than the bundled one's."""
    draw = torch.Generator().manual_seed(seed)
    kinds = torch.randint(len(CLASSES), (count, words), generator=draw)
    which = torch.randint(12, (count, words), generator=draw)
    place = torch.arange(count) % len(deciding)
    cue = torch.randint(CUES_A_TEXT, (count, CUES_A_TEXT), generator=draw)
    number = {word: index for index, word in enumerate(VOCABULARY)}
    of_class = torch.tensor([[number[word] for word in words] for words in CLASSES.values()])
    of_place = torch.tensor([[number[word] for word in cues] for cues in CUES])
    first, last = (torch.full((count, 1), number[name]) for name in ("[CLS]", "[SEP]"))
    ids = torch.cat([first, of_class[kinds, which], of_place[place[:, None], cue], last], dim=1)
    return ids, kinds.gather(1, torch.tensor(deciding)[place][:, None])[:, 0], place


class Bare:
    """Trains a method on the bare backbone, outside of the engine, with its slot forced or not.

    Args:
        config: Settings of a method with slots.
        backbone: The position backbone.
        seed: Of initial values, order and draws.
        is_told: True: the slot of every row is the right one, in training and in scoring.
    """

    def __init__(
        self, config: MethodConfig, backbone: Backbone, seed: int, *, is_told: bool = False
    ) -> None:
        draw = torch.Generator().manual_seed(seed)
        method = build_method(config, backbone, draw)
        assert isinstance(method, ChoosingMethod)
        self._method, self._backbone, self._is_told = method, backbone, is_told
        self._head = new_head(backbone.facts.hidden, len(CLASSES), draw)
        self._seed = seed
        rates = {**RATES, **config.learning_rates.model_dump(exclude_none=True)}
        groups = {"head": list(self._head.parameters()), **method.parameter_groups()}
        self._groups = [
            {"params": tensors, "lr": 0.0, "top": rates[name]} for name, tensors in groups.items()
        ]

    def train(self, rows: Rows, updates: int, batch_size: int = 64) -> Bare:
        """Train with AdamW, a warm-up over 6 % of the updates, then linearly to zero."""
        optimiser = torch.optim.AdamW(self._groups, weight_decay=0.0)
        tensors = [tensor for group in optimiser.param_groups for tensor in group["params"]]
        draw = torch.Generator().manual_seed(self._seed + 1)
        order = [torch.randperm(len(rows[0]), generator=draw) for _ in range(updates)]
        picked = torch.cat(order)[: updates * batch_size].reshape(updates, batch_size)
        for update, rows_of in enumerate(picked):
            factor = rate_factor(update, updates, warmup=round(0.06 * updates), schedule="linear")
            for group in optimiser.param_groups:
                group["lr"] = group["top"] * factor
            noise = SelectorNoise(draw, 1 - update / updates / 2, update / updates)
            loss = self._loss(*(tensor[rows_of] for tensor in rows), noise)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(tensors, 1.0)
            optimiser.step()
        return self

    @torch.no_grad()
    def score(self, rows: Rows) -> tuple[float, float]:
        """Return accuracy and share of right slots, both in percent."""
        ids, classes, places = rows
        inputs = self._inputs(ids, places, None)
        slot = inputs.choice.slot
        assert slot is not None
        found = self._logits(inputs).argmax(dim=1) == classes
        return 100 * float(found.float().mean()), 100 * float((slot == places).float().mean())

    def blind(self) -> None:
        """Take away what the selector sees of its input; its bias stays."""
        dict(self._method.named_parameters())["position.linear.weight"].data.zero_()

    @torch.no_grad()
    def own_minus_shuffled(self, rows: Rows) -> float:
        """Accuracy with each row's own slot minus that with slots shuffled between rows."""
        ids, classes, places = rows
        own = self._inputs(ids, places, None)
        assert own.choice.slot is not None
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(self._seed))
        batch = TokenBatch(ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool))
        other = self._method.adapt_with(batch, Choice(slot=own.choice.slot[order]))
        hits = [(self._logits(i).argmax(dim=1) == classes).float().mean() for i in (own, other)]
        return 100 * float(hits[0] - hits[1])

    def _inputs(self, ids: Tensor, places: Tensor, noise: SelectorNoise | None) -> BackboneInputs:
        batch = TokenBatch(ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool))
        if self._is_told:
            return self._method.adapt_with(batch, Choice(slot=places))
        return self._method.adapt(batch, noise)

    def _logits(self, inputs: BackboneInputs) -> Tensor:
        logits: Tensor = self._head(pool(self._backbone.forward(inputs), inputs, "mean"))
        return logits

    def _loss(self, ids: Tensor, classes: Tensor, places: Tensor, noise: SelectorNoise) -> Tensor:
        inputs = self._inputs(ids, places, noise)
        logits, candidates = self._logits(inputs), inputs.candidates
        if candidates is None:
            return cross_entropy(logits, classes)
        every = classes.repeat(candidates.log_prior.shape[1])
        return marginal_loss(-cross_entropy(logits, every, reduction="none"), candidates).mean()
