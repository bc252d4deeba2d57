"""What the choices of a trained method are worth: others put in their place, on dev alone.

An entry of an audit is a JSON-safe mapping, one for each task and each axis of which something is
chosen (``cut``, ``slot``, ``length``, ``pool``), with the keys

    task, axis           where it belongs
    metric               the task's first metric, which the gains are in
    names                what the choices are called
    examples, of         dev examples that were scored, and all that there are
    rows                 the table: each a ``row`` and its ``metrics`` by name
    gains                own choice minus another row in this metric: ``over``, ``value``, and
                         ``low`` and ``high``, a paired 95 % bootstrap interval over examples
    information          ``nats`` of mutual information of choice (of a pool the prompt with the
                         largest weight) and class, its mean by ``chance``, and ``p``
    classes, by_class    classes (of rows that are choices: wrong and right), and the rows of each
                         class that took each choice

The rows are ``own``; ``modal``, the most frequent choice for all (of a pool ``mean``, the mean
weights); ``mixture``, the answers under every choice weighed by the selector's probabilities, which
takes a pass a choice (where classes are predicted; a pool mixes its prompts by itself);
``shuffled`` between rows and ``uniform`` random ones, both means over several draws (of
a pool even weights, once); ``best_fixed``, the best of the fixed ones on these very examples;
``best_each``, for each example a choice that gives the right answer, own or fixed, where there is
one: it knows the answers, so it is biased upwards and no method reaches it by choosing well; and
``fixed`` for every choice taken for all rows. Rows of one choice name it as ``choice``.
Other axes keep each row's own choice.

All of it is read off one table of scores an axis; nothing is random but streams of fixed seeds, so
it is a function of the weights and the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.backbones.readout import run_read_out
from core.methods._module import ChoosingMethod
from core.recipe import RunConfig
from core.statistics.audit import (
    DRAWS,
    Indices,
    best_each,
    counts_by_class,
    information,
    modal,
    permutations,
    random_choices,
    taken,
)
from core.training.audit_parts import Judge, Own, Stopped, Subject, sample
from core.training.features import PreparedSplit
from core.training.part import TaskPart
from core.training.warm import WarmBackbone

MOST_EXAMPLES = 1000
MOST_ROWS = 30_000
MOST_TABLE_BYTES = 2_000_000
RIGHT = ("wrong", "right")


@dataclass(frozen=True)
class Passes:
    """Scores of one axis as they came from the backbone.

    Attributes:
        task: Name of the task.
        axis: Name of the axis.
        told: Name of each told choice.
        examples: Index in dev of each row's example, shape (rows,).
        scores: Shape (told, rows, outputs).
    """

    task: str
    axis: str
    told: tuple[str, ...]
    examples: Indices
    scores: NDArray[np.float32]


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        entries: See the module.
        passes: Rows that went through the backbone for it; never charged as cost of training.
        tables: All scores.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    passes: int = 0
    tables: list[Passes] = field(default_factory=list)

    def table(self) -> pa.Table | None:
        """Put all scores into one table, a row a pass; None where it would be large."""
        if not self.tables or sum(item.scores.nbytes for item in self.tables) > MOST_TABLE_BYTES:
            return None
        return pa.concat_tables([_table(item) for item in self.tables])


def is_audited(config: RunConfig) -> bool:
    """Tell whether a run's choices are audited; a fold only helps to choose settings."""
    return config.training.audit and config.selection != "fold"


def audit(
    config: RunConfig,
    parts: Mapping[str, TaskPart],
    warm: WarmBackbone,
    is_stopped: Callable[[int], bool] = lambda rows: False,
) -> Audit | None:
    """Audit a model on the dev split of each of its tasks.

    Args:
        config: The run.
        parts: Tasks, with the model as it is to be audited.
        warm: Its backbone.
        is_stopped: Asked before each pass with the rows that went through so far.

    Returns:
        What was found, without entries where nothing is chosen or there is no dev; None when it
        was stopped.
    """
    found = Audit()
    try:
        for part in parts.values():
            if len(part.splits["dev"]) and isinstance(part.model.method, ChoosingMethod):
                _audit_part(found, config, part, part.model.method, warm, is_stopped)
    except Stopped:
        return None
    return found


def _audit_part(
    found: Audit,
    config: RunConfig,
    part: TaskPart,
    method: ChoosingMethod,
    warm: WarmBackbone,
    is_stopped: Callable[[int], bool],
) -> None:
    """Audit all axes of one task."""
    backbone, whole = warm.backbone, part.splits["dev"]
    read_out = run_read_out(config.backbone, backbone, method)

    def subject(split: PreparedSplit) -> Subject:
        feature = None
        if method.needs_feature:
            feature = split.feature(backbone, method.averages_padding)
        return Subject(
            backbone, part.model, method, split, read_out, feature,
            lambda rows: is_stopped(found.passes + rows),
        )  # fmt: skip

    asked = subject(whole)
    sizes = asked.sizes()
    if not sizes:
        return
    a_row = max(size + (DRAWS + 3 if axis == "pool" else 0) for axis, size in sizes.items())
    rows_each = -(-whole.num_rows // len(whole))
    places = sample(
        part.examples("dev"), min(MOST_EXAMPLES, max(1, MOST_ROWS // a_row // rows_each))
    )
    examples = [part.examples("dev")[place] for place in places]
    if len(places) < len(whole):
        # Not among the splits that runs share: nobody shall find its caches filled by an audit.
        split = PreparedSplit(warm.tokenizer.encode_all(examples, config.training.max_tokens))
        asked = subject(split)
        found.passes += split.passes
    tokens = asked.split.tokens
    judge = Judge(examples, len(part.data.labels), part.data.metrics, tokens)
    is_choices = tokens.kind == "choices"
    about = _About(
        task=part.name,
        places=np.repeat(np.array(places, dtype=np.int64), tokens.unit_sizes),
        row_classes=tokens.right.astype(np.int64) if is_choices else tokens.labels,
        classes=RIGHT if is_choices else part.data.labels,
        judge=judge,
        numbers={"examples": len(places), "of": len(whole)},
    )
    own = asked.own()
    for axis, size in sizes.items():
        known = config.method.choice_names.get(axis, ())
        names = tuple(known) or tuple(map(str, range(size)))
        entry = _pool_entry if axis == "pool" else _index_entry
        found.entries.append(entry(found, asked, about, axis, names, own[axis]))


@dataclass(frozen=True)
class _About:
    """What all axes of a task have in common; ``places`` and ``row_classes`` are of each row."""

    task: str
    places: Indices
    row_classes: Indices
    classes: Sequence[str]
    judge: Judge
    numbers: Mapping[str, int]


def _index_entry(
    found: Audit,
    subject: Subject,
    about: _About,
    axis: str,
    names: Sequence[str],
    chosen: Own,
) -> dict[str, Any]:
    """Audit an axis of which each row takes one choice: one pass a choice, all else is read off."""
    own: Indices = chosen.taken
    rows, size = len(own), len(names)
    scores = subject.scores(axis, [np.full(rows, choice) for choice in range(size)])
    _keep(found, about, axis, names, scores)

    def answers(index: Indices) -> Indices:
        return subject.predictions(taken(scores, index))

    common = modal(own, size)
    return _entry(
        about,
        axis,
        names,
        index=own,
        own=answers(own),
        fixed=[subject.predictions(table) for table in scores],
        mixture=subject.mixture(scores, chosen.shares),
        common=("modal", [subject.predictions(scores[common])], {"choice": common}),
        shuffled=[answers(own[order]) for order in permutations(rows)],
        uniform=[answers(drawn) for drawn in random_choices(rows, size)],
    )


def _pool_entry(
    found: Audit,
    subject: Subject,
    about: _About,
    axis: str,
    names: Sequence[str],
    chosen: Own,
) -> dict[str, Any]:
    """Audit the mixture of a pool: mixtures are no choices of a few, so each is a pass."""
    own: NDArray[np.float32] = chosen.taken
    rows, size = own.shape
    orders = permutations(rows)
    told = {
        name: np.tile(np.eye(size, dtype=np.float32)[i], (rows, 1)) for i, name in enumerate(names)
    }
    told["own"] = own
    told["mean"] = np.tile(own.mean(axis=0, dtype=np.float32), (rows, 1))
    told["uniform"] = np.full_like(own, 1 / size)
    told |= {f"shuffled {number}": own[order] for number, order in enumerate(orders)}
    scores = subject.scores(axis, list(told.values()))
    _keep(found, about, axis, tuple(told), scores)
    answers = dict(zip(told, map(subject.predictions, scores), strict=True))
    return _entry(
        about,
        axis,
        names,
        index=own.argmax(axis=1).astype(np.int64),
        own=answers["own"],
        fixed=[answers[name] for name in names],
        mixture=None,
        common=("mean", [answers["mean"]], {}),
        shuffled=[answers[f"shuffled {number}"] for number in range(len(orders))],
        uniform=[answers["uniform"]],
    )


def _entry(
    about: _About,
    axis: str,
    names: Sequence[str],
    *,
    index: Indices,
    own: Indices,
    fixed: Sequence[Indices],
    mixture: Indices | None,
    common: tuple[str, Sequence[Indices], Mapping[str, int]],
    shuffled: Sequence[Indices],
    uniform: Sequence[Indices],
) -> dict[str, Any]:
    """Judge all rows of the table; predictions are of shape (examples,), ``index`` of each row."""
    judge = about.judge
    every = [judge.metrics(given) for given in fixed]
    first = next(iter(every[0]))
    best = int(np.argmax([found[first] for found in every]))
    kind, modal_answers, chosen = common
    mixtures = [] if mixture is None else [mixture]
    rows: list[dict[str, Any]] = [
        {"row": "own", "metrics": judge.metrics(own)},
        *({"row": "mixture", "metrics": judge.metrics(m), "passes": len(names)} for m in mixtures),
        {"row": kind, "metrics": _mean(judge, modal_answers), **chosen},
        {"row": "shuffled", "metrics": _mean(judge, shuffled), "draws": len(shuffled)},
        {"row": "uniform", "metrics": _mean(judge, uniform), "draws": len(uniform)},
        {"row": "best_fixed", "metrics": every[best], "choice": best},
        {"row": "best_each", "metrics": judge.metrics(best_each(own, fixed, judge.is_right))},
        *({"row": "fixed", "metrics": found, "choice": i} for i, found in enumerate(every)),
    ]
    size, classes = len(names), len(about.classes)
    told = information(index, about.row_classes, size, classes)
    others = {kind: modal_answers, "shuffled": shuffled}
    return {
        "task": about.task,
        "axis": axis,
        "metric": first,
        "names": list(names),
        **about.numbers,
        "rows": rows,
        "gains": [
            {"over": name, **judge.gain(own, answers)._asdict()} for name, answers in others.items()
        ],
        "information": told._asdict(),
        "classes": list(about.classes),
        "by_class": counts_by_class(index, about.row_classes, size, classes).tolist(),
    }


def _mean(judge: Judge, draws: Sequence[Indices]) -> dict[str, float]:
    """Return the mean of each metric over draws."""
    found = [judge.metrics(answers) for answers in draws]
    return {name: float(np.mean([metrics[name] for metrics in found])) for name in found[0]}


def _keep(
    found: Audit, about: _About, axis: str, told: Sequence[str], scores: NDArray[np.float32]
) -> None:
    found.passes += scores.shape[0] * scores.shape[1]
    found.tables.append(Passes(about.task, axis, tuple(told), about.places, scores))


def _table(item: Passes) -> pa.Table:
    told, rows, _ = item.scores.shape
    scores = item.scores.reshape(told * rows, -1)
    return pa.table(
        {
            "task": pa.array([item.task] * (told * rows), pa.string()),
            "axis": pa.array([item.axis] * (told * rows), pa.string()),
            "told": pa.array(np.repeat(np.array(item.told, dtype=object), rows), pa.string()),
            "index": pa.array(np.tile(item.examples, told), pa.int64()),
            "scores": pa.array(scores.tolist(), pa.list_(pa.float32())),
        }
    )
