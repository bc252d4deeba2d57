"""Answer a text with many trained runs at once, on backbones that stay loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.backbones.spec import BackboneChoice
from core.data.tokens import Encoding, TextTokenizer, length_class
from core.errors import InputError, StudioError
from core.inference.trace import trace
from core.methods._module import TokenBatch
from core.texts import check_texts
from core.training.checkpoint import AdapterCard, load_adapter, read_card
from core.training.features import text_feature
from core.training.launch import Rows, launch
from core.training.model import AdaptedModel
from core.training.sealed import MANIFEST
from core.training.warm import Recent, WarmBackbone, WarmBackbones

KEPT_LARGE_ADAPTERS = 2


@dataclass(frozen=True)
class AdapterRef:
    """A trained run and where its adapter lies.

    Attributes:
        run_id: The run.
        folder: Folder with ``adapter.safetensors`` and ``adapter.json``.
    """

    run_id: str
    folder: Path


@dataclass(frozen=True)
class Answer:
    """What one run says about a text; or, when ``error`` is filled, why it says nothing.

    Attributes:
        run_id: The run.
        label: Most probable class.
        probabilities: Probability of each class, in the task's order.
        tokens: Word pieces that the backbone read, special ones included.
        prompt_before: Prompt vectors before the text, a count.
        prompt_after: Prompt vectors after the text, a count.
        cut_probabilities: Probability of each cut 0..l, None when nothing chooses it.
        pool_weights: Share of each prompt of the pool, None without a pool.
        used_tokens: Tokens that were used, a count.
        total_tokens: Tokens that the text has; more than used when it was cut.
        milliseconds: Wall time of the passes that this answer shared with others.
        error: Reason why there is no answer, for people.
    """

    run_id: str
    label: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    prompt_before: int = 0
    prompt_after: int = 0
    cut_probabilities: list[float] | None = None
    pool_weights: list[float] | None = None
    used_tokens: int = 0
    total_tokens: int = 0
    milliseconds: float = 0.0
    error: str = ""


class _Job(NamedTuple):
    """An adapter that is to answer."""

    ref: AdapterRef
    card: AdapterCard
    warm: WarmBackbone


class _Text(NamedTuple):
    """The text as one backbone's tokens."""

    encoding: Encoding
    batch: TokenBatch


class Predictor:
    """Keeps backbones and adapters loaded between texts.

    Runs on one backbone whose inputs have one shape share a single pass; a fine-tuned run has
    its own backbone and passes alone. Of those, which are large, only the last two are kept.

    Args:
        offline: Never ask a model hub.
        threads: CPU threads, a count; 0 leaves the choice to torch.
        capacity: Adapters kept loaded, a count.
        device: Where backbones are loaded to.
    """

    def __init__(
        self, offline: bool, threads: int = 1, capacity: int = 16, device: str = "cpu"
    ) -> None:
        self._warm = WarmBackbones(offline, threads, device)
        self._small: Recent[AdaptedModel] = Recent(capacity)
        self._large: Recent[AdaptedModel] = Recent(KEPT_LARGE_ADAPTERS)

    def preload(self, choice: BackboneChoice) -> None:
        """Load a backbone ahead of the first text.

        Raises:
            BackboneError: If it cannot be loaded.
        """
        self._warm.get(choice, "float32")

    def answer(self, texts: tuple[str, ...], adapters: Sequence[AdapterRef]) -> list[Answer]:
        """Classify one input, of one or two texts, with every adapter.

        An adapter that cannot answer gets an answer with ``error``; the others are not held up.

        Args:
            texts: The input's segments.
            adapters: Runs to ask.

        Returns:
            Answers in the order of ``adapters``.

        Raises:
            InputError: If a text is empty or much too long, or there are none or too many.
        """
        check_texts(texts)
        answers: dict[int, Answer] = {}
        jobs: dict[int, _Job] = {}
        for index, ref in enumerate(adapters):
            try:
                jobs[index] = self._job(ref, len(texts))
            except StudioError as error:
                answers[index] = Answer(ref.run_id, error=str(error))
        for indices in _groups(jobs):
            answers.update(self._answer_group(texts, {index: jobs[index] for index in indices}))
        return [answers[index] for index in range(len(adapters))]

    def _job(self, ref: AdapterRef, num_texts: int) -> _Job:
        card = read_card(ref.folder)
        if card.num_segments != num_texts:
            raise InputError(
                f"This run was trained on inputs of {_texts(card.num_segments)}; "
                f"{_texts(num_texts)} given."
            )
        return _Job(ref, card, self._warm.for_run(card.config))

    def _answer_group(self, texts: tuple[str, ...], jobs: dict[int, _Job]) -> dict[int, Answer]:
        """Answer with runs that share one backbone and one longest input."""
        start = time.perf_counter()
        some = next(iter(jobs.values()))
        answers: dict[int, Answer] = {}
        try:
            text = _tokenise(texts, some)
        except StudioError as error:
            return {i: Answer(job.ref.run_id, error=str(error)) for i, job in jobs.items()}
        models: dict[int, AdaptedModel] = {}
        for index, job in jobs.items():
            try:
                models[index] = self._model(job)
            except StudioError as error:
                answers[index] = Answer(job.ref.run_id, error=str(error))
        with torch.inference_mode():
            batch = text.batch
            if any(model.method.needs_feature for model in models.values()):
                batch = replace(batch, feature=text_feature(some.warm.backbone, batch))
            parts = {
                index: Rows(
                    model, model.method.adapt(batch), jobs[index].card.config.backbone.read_out
                )
                for index, model in models.items()
            }
            logits = launch(some.warm.backbone, list(parts.values()))
        milliseconds = (time.perf_counter() - start) * 1000
        for (index, part), scores in zip(parts.items(), logits, strict=True):
            answers[index] = _answer(jobs[index], text.encoding, part, scores, milliseconds)
        return answers

    def _model(self, job: _Job) -> AdaptedModel:
        """Return an adapter's model, loaded on first use and after a change of its files."""
        folder = job.ref.folder
        key = (str(folder), (folder / MANIFEST).stat().st_mtime_ns, id(job.warm.backbone))
        kept = self._large if job.card.config.method.SEPARATE else self._small
        return kept.get(key, lambda: load_adapter(folder, job.warm.backbone))


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count} texts"


def _groups(jobs: dict[int, _Job]) -> Iterator[list[int]]:
    """Yield what may share passes: first the light runs of each backbone, then large ones alone."""
    shared: dict[tuple[int, int], list[int]] = {}
    for index, job in jobs.items():
        if not job.card.config.method.SEPARATE:
            key = (id(job.warm), job.card.config.training.max_tokens)
            shared.setdefault(key, []).append(index)
    yield from shared.values()
    yield from ([index] for index, job in jobs.items() if job.card.config.method.SEPARATE)


def _tokenise(texts: tuple[str, ...], job: _Job) -> _Text:
    tokenizer: TextTokenizer = job.warm.tokenizer
    encoding = tokenizer.encode(texts, job.card.config.training.max_tokens)
    nothing = tokenizer.encode(("",) * len(texts), job.card.config.training.max_tokens)
    if encoding.total <= nothing.total:
        raise InputError(
            "The text holds nothing that this backbone can read.", hint="Type a sentence."
        )
    # The same padding as in training, so that an answer equals the evaluation of the same text.
    length = length_class(encoding.used)
    ids = np.full((1, length), tokenizer.pad_id, dtype=np.int64)
    types = np.zeros((1, length), dtype=np.int64)
    ids[0, : encoding.used] = encoding.ids
    types[0, : encoding.used] = encoding.types
    mask = np.arange(length)[None] < encoding.used
    device = job.warm.backbone.device
    batch = TokenBatch(*(torch.from_numpy(item).to(device) for item in (ids, types, mask)))
    return _Text(encoding, batch)


def _answer(
    job: _Job, encoding: Encoding, part: Rows, scores: Tensor, milliseconds: float
) -> Answer:
    probabilities = torch.softmax(scores[0].double(), dim=0).tolist()
    seen = trace(part.inputs, 0)
    return Answer(
        run_id=job.ref.run_id,
        label=job.card.labels[int(scores[0].argmax())],
        probabilities=dict(zip(job.card.labels, probabilities, strict=True)),
        tokens=list(encoding.tokens),
        prompt_before=seen.prompt_before,
        prompt_after=seen.prompt_after,
        cut_probabilities=seen.cut_probabilities,
        pool_weights=seen.pool_weights,
        used_tokens=encoding.used,
        total_tokens=encoding.total,
        milliseconds=round(milliseconds, 3),
    )
