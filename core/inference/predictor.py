"""Answer what a person types with many trained runs at once, on backbones that stay loaded."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.backbones.readout import run_read_out
from core.backbones.spec import BackboneChoice
from core.data.examples import Segments
from core.data.tokens import Encoding, TextTokenizer, length_class
from core.data.typed import TypedInput, plain_input, typed_input
from core.errors import InputError, StudioError
from core.inference.trace import AxisTrace, Piece, trace
from core.methods._module import TokenBatch
from core.tasks import TASKS
from core.texts import check_texts
from core.training.checkpoint import AdapterCard, TaskCard, load_adapter, read_card
from core.training.features import text_feature
from core.training.launch import Rows, launch
from core.training.model import AdaptedModel, RunModel
from core.training.sealed import MANIFEST
from core.training.warm import Recent, WarmBackbone, WarmBackbones

KEPT_LARGE_ADAPTERS = 2


@dataclass(frozen=True)
class AdapterRef:
    """A trained run and where its adapter lies.

    Attributes:
        run_id: The run.
        folder: Folder with ``adapter.safetensors`` and ``adapter.json``.
        task: Name of the task as which it shall read the texts; empty: the only one it knows.
    """

    run_id: str
    folder: Path
    task: str = ""


@dataclass(frozen=True)
class Answer:
    """What one run says about an input; or, when ``error`` is filled, why it says nothing.

    Where choices are scored together each is a row of its own; tokens and prompt are those of the
    row of the most probable choice.

    Attributes:
        run_id: The run.
        label: Most probable class or choice.
        probabilities: Probability of each class or choice, in the task's order.
        tokens: Word pieces that the backbone read, special ones and template words included.
        added: For each token whether it was not typed: a special token or a word of the template.
        pieces: Prompt vectors that are used, and how many tokens stand in front of them.
        choices: What a dynamic prompt chose of cut, slot and length, with all probabilities.
        pool_weights: Share of each prompt of the pool, None without a pool.
        used_tokens: Tokens that were used, a count.
        total_tokens: Tokens that the row has; more than used when it was cut.
        milliseconds: Wall time of the passes that this answer shared with others.
        error: Reason why there is no answer, for people.
    """

    run_id: str
    label: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    added: list[bool] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    choices: list[AxisTrace] = field(default_factory=list)
    pool_weights: list[float] | None = None
    used_tokens: int = 0
    total_tokens: int = 0
    milliseconds: float = 0.0
    error: str = ""


class _Job(NamedTuple):
    """An adapter that is to answer."""

    ref: AdapterRef
    card: AdapterCard
    task: TaskCard
    typed: TypedInput
    warm: WarmBackbone

    @property
    def reading(self) -> tuple[tuple[Segments, ...], int]:
        """What decides how the input becomes tokens: its rows and the longest input."""
        return self.typed.rows, self.card.config.training.max_tokens


class _Read(NamedTuple):
    """The rows of an input as one backbone's tokens."""

    encodings: tuple[Encoding, ...]
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
        self._small: Recent[RunModel] = Recent(capacity)
        self._large: Recent[RunModel] = Recent(KEPT_LARGE_ADAPTERS)

    def preload(self, choice: BackboneChoice) -> None:
        """Load a backbone ahead of the first text.

        Raises:
            BackboneError: If it cannot be loaded.
        """
        self._warm.get(choice, "float32")

    def answer(self, texts: tuple[str, ...], adapters: Sequence[AdapterRef]) -> list[Answer]:
        """Classify one input with every adapter.

        An adapter that cannot answer gets an answer with ``error``; the others are not held up.

        Args:
            texts: Typed texts in the order of the task's inputs.
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
                jobs[index] = self._job(ref, texts)
            except StudioError as error:
                answers[index] = Answer(ref.run_id, error=str(error))
        for indices in _groups(jobs):
            answers.update(self._answer_group({index: jobs[index] for index in indices}))
        return [answers[index] for index in range(len(adapters))]

    def _job(self, ref: AdapterRef, texts: tuple[str, ...]) -> _Job:
        card = read_card(ref.folder)
        task = _task_of(card, ref.task)
        typed = _typed(task, texts)
        warm = self._warm.for_run(card.config)
        _require_readable(texts, warm.tokenizer)
        return _Job(ref, card, task, typed, warm)

    def _answer_group(self, jobs: dict[int, _Job]) -> dict[int, Answer]:
        """Answer with runs that share one backbone."""
        start = time.perf_counter()
        backbone = next(iter(jobs.values())).warm.backbone
        answers: dict[int, Answer] = {}
        models: dict[int, AdaptedModel] = {}
        read: dict[Hashable, _Read] = {}
        for index, job in jobs.items():
            try:
                models[index] = self._model(job)
            except StudioError as error:
                answers[index] = Answer(job.ref.run_id, error=str(error))
                continue
            if job.reading not in read:
                read[job.reading] = _tokenise(job)
        with torch.inference_mode():
            features = {
                (reading, padding): text_feature(backbone, read[reading].batch, padding)
                for reading, padding in {
                    (jobs[index].reading, model.method.averages_padding)
                    for index, model in models.items()
                    if model.method.needs_feature
                }
            }
            parts = {}
            for index, model in models.items():
                reading = jobs[index].reading
                feature = features.get((reading, model.method.averages_padding))
                batch = replace(read[reading].batch, feature=feature)
                read_out = run_read_out(jobs[index].card.config.backbone, backbone, model.method)
                parts[index] = Rows(model, model.method.adapt(batch), read_out)
            logits = launch(backbone, list(parts.values()))
        milliseconds = (time.perf_counter() - start) * 1000
        for (index, part), scores in zip(parts.items(), logits, strict=True):
            job = jobs[index]
            answers[index] = _answer(job, read[job.reading], part, scores, milliseconds)
        return answers

    def _model(self, job: _Job) -> AdaptedModel:
        """Return an adapter's part for the task, loaded on first use and after its files change."""
        folder = job.ref.folder
        key = (str(folder), (folder / MANIFEST).stat().st_mtime_ns, id(job.warm.backbone))
        kept = self._large if job.card.config.method.SEPARATE else self._small
        return kept.get(key, lambda: load_adapter(folder, job.warm.backbone)).part(job.task.name)


def _task_of(card: AdapterCard, name: str) -> TaskCard:
    """Find the task as which an adapter shall read the texts.

    Raises:
        InputError: If the run was not trained on it, or none is named where there are several.
    """
    known = {task.name: task for task in card.tasks}
    if name in known:
        return known[name]
    if not name and len(known) == 1:
        return card.tasks[0]
    names = ", ".join(known)
    if name:
        raise InputError(f"This run was not trained on {name}; it knows {names}.")
    raise InputError(f"This run was trained on several tasks: {names}.", hint="Name one of them.")


def _typed(task: TaskCard, texts: tuple[str, ...]) -> TypedInput:
    """Make the rows with the template that the run was trained with.

    Raises:
        InputError: If the texts are not such an input, or this version does not know the task.
    """
    if not task.spec:
        return plain_input(task.inputs, texts)
    if task.spec not in TASKS:
        raise InputError(f"This version of the studio has no task '{task.spec}'.")
    spec = replace(
        TASKS[task.spec],
        templates={task.template: task.segments},
        inputs=task.inputs,
        can_be_typed=bool(task.inputs),
    )
    return typed_input(spec, texts, task.template)


def _groups(jobs: dict[int, _Job]) -> Iterator[list[int]]:
    """Yield what may share passes: first the light runs of each backbone, then large ones alone."""
    shared: dict[int, list[int]] = {}
    for index, job in jobs.items():
        if not job.card.config.method.SEPARATE:
            shared.setdefault(id(job.warm), []).append(index)
    yield from shared.values()
    yield from ([index] for index, job in jobs.items() if job.card.config.method.SEPARATE)


def _require_readable(texts: tuple[str, ...], tokenizer: TextTokenizer) -> None:
    """Refuse texts of which a backbone's tokenizer leaves nothing, whatever the template adds."""
    if not any(tokenizer.count(text) for text in texts):
        raise InputError(
            "The text holds nothing that this backbone can read.", hint="Type a sentence."
        )


def _tokenise(job: _Job) -> _Read:
    """Tokenise all rows of an input."""
    tokenizer: TextTokenizer = job.warm.tokenizer
    rows, max_tokens = job.reading
    encodings = tuple(tokenizer.encode(row, max_tokens) for row in rows)
    # The same padding as in training, so that an answer equals the evaluation of the same text.
    length = length_class(max(encoding.used for encoding in encodings))
    ids = np.full((len(rows), length), tokenizer.pad_id, dtype=np.int64)
    types = np.zeros((len(rows), length), dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.bool_)
    for row, encoding in enumerate(encodings):
        ids[row, : encoding.used] = encoding.ids
        types[row, : encoding.used] = encoding.types
        mask[row, : encoding.used] = True
    device = job.warm.backbone.device
    batch = TokenBatch(*(torch.from_numpy(item).to(device) for item in (ids, types, mask)))
    return _Read(encodings, batch)


def _answer(job: _Job, read: _Read, part: Rows, scores: Tensor, milliseconds: float) -> Answer:
    """Turn the scores of an input's rows, shape (rows, outputs), into an answer."""
    # One row has an output a class; of rows that are choices each has one output.
    of_each = scores[0] if job.task.kind == "classes" else scores[:, 0]
    probabilities = torch.softmax(of_each.double(), dim=0).tolist()
    best = int(of_each.argmax())
    row = 0 if job.task.kind == "classes" else best
    encoding = read.encodings[row]
    seen = trace(part.inputs, row, job.card.config.method.choice_names)
    return Answer(
        run_id=job.ref.run_id,
        label=job.task.labels[best],
        probabilities=dict(zip(job.task.labels, probabilities, strict=True)),
        tokens=list(encoding.tokens),
        added=[not job.typed.is_typed(row, *place) for place in encoding.places],
        pieces=seen.pieces,
        choices=seen.choices,
        pool_weights=seen.pool_weights,
        used_tokens=encoding.used,
        total_tokens=encoding.total,
        milliseconds=round(milliseconds, 3),
    )
