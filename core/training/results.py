"""What a finished run hands over: numbers for tables and files for later questions.

``Ending.result`` of a succeeded run is a JSON-safe mapping with the keys

    best_step            updates done at the selected checkpoint; the last one where dev is empty
    updates              updates done in all
    examples             training examples seen, repeats counted
    forward_equivalents  rows that went through the backbone, for whatever purpose: training,
                         scoring, and once for each cache that the run was the first to need; an
                         example is one row, or one a choice
    seconds              wall time in which the run took part in its group
    cpu_seconds          its share, by tokens, of the CPU time of the process
    num_trainable        trainable numbers by parameter group, as the optimiser holds them
    dev, test            metrics at the selected checkpoint; test is scored once; dev is empty
                         after training on all of train
    dev_last             metrics on dev at the last evaluation
    train_loss           mean over the last updates, in nats
    majority             accuracy of guessing, in dev (where there is one) and in test
    counts, truncated    examples, and examples that were cut, in train, dev, test and extra sets
    flags                warnings out of ``core.metrics.flags.FLAGS``
    test_source          file that test was read from
    template             name of the template that made the rows
    extra                metrics of each extra set whose right answers are known; missing where no
                         such set was scored
    group                runs that were trained together at the start, this one included
    environment          see ``core.training.environment``
    audit                what the choices of a dynamic prompt are worth, see
                         ``core.training.audit``; missing where nothing is chosen, there is no dev
                         or it was switched off
    audit_passes         rows that went through the backbone for it, in no other number
    environment_changes  sentences on where the run was continued in another environment; missing
                         where it never was

After joint training ``dev``, ``dev_last`` and ``test`` hold ``joint_mean``, the unweighted mean
over the tasks of each one's first metric; ``majority`` and ``train_loss`` are means over tasks,
``counts`` and ``truncated`` sums, ``flags`` those of any task; ``test_source``, ``template`` and
``extra`` are missing. ``tasks`` then holds, by task, ``dev``, ``dev_last``, ``test``,
``train_loss``, ``majority``, ``counts``, ``truncated``, ``flags``, ``test_source``, ``template``,
``extra`` and ``updates``.

Its files are ``adapter`` (a folder), ``predictions`` (Parquet), ``environment`` (JSON) and, of an
audit that is not large, ``audit`` (Parquet): a row for each told choice and row of dev, with the
``scores`` of the classes. The predictions hold one row an example of every scored split: ``task``,
``split`` (``dev``, ``test`` or the name of an extra set), ``index`` in it, official ``id``,
``label`` (-1 where nobody knows), ``prediction``, ``probabilities`` (one an answer), and what was
chosen for the given answer, empty where nothing chooses: ``cut``, name of the ``slot``, and
``length`` (of a cut beyond the length all vectors that are used stand before the input).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.durable import whole_file
from core.fault_points import reach
from core.metrics import LOWEST
from core.metrics.flags import FLAGS, guessing_loss, label_entropy, run_flags
from core.reporting import Ending
from core.states import Outcome
from core.training.audit import Audit
from core.training.checkpoint import model_tensors, save_adapter
from core.training.disk import room_for
from core.training.environment import environment_of
from core.training.evaluate import Scores
from core.training.part import TaskPart, mean_of
from core.training.run import TrainingRun

CHOICE_COLUMNS = {"cut": pa.int64(), "slot": pa.string(), "length": pa.int64()}


def finished(
    run: TrainingRun, scores: Mapping[tuple[str, str], Scores], group: int, audit: Audit
) -> Ending:
    """Write a finished run's files and gather its numbers.

    Args:
        run: The run, its model holding the selected checkpoint.
        scores: Scores of that checkpoint by task and split: dev where there is one, test, and
            extra sets.
        group: Runs that were trained together at the start, a count.
        audit: What was found about its choices.

    Raises:
        DiskFull: If there is no room for the files.
        TrainingError: If the disk refuses for another reason.
    """
    environment = environment_of(
        run.warm.backbone, {name: part.data for name, part in run.parts.items()}
    )
    tasks = {
        name: _task_result(
            run, part, {split: found for (task, split), found in scores.items() if task == name}
        )
        for name, part in run.parts.items()
    }
    result = {
        **_run_result(run),
        **(_joint_result(run, tasks) if run.is_joint else tasks[run.config.task.name]),
        "group": group,
        "environment": environment,
        **({"audit": audit.entries, "audit_passes": audit.passes} if audit.entries else {}),
    }
    files = _write_files(run, scores, environment, audit.table())
    return Ending(outcome=Outcome.SUCCEEDED, result=result, files=files)


def _write_files(
    run: TrainingRun,
    scores: Mapping[tuple[str, str], Scores],
    environment: Mapping[str, Any],
    audited: pa.Table | None,
) -> dict[str, Path]:
    """Write all files of a run, or leave none of them."""
    folder = run.member.folder
    files = {
        "adapter": folder / "adapter",
        "predictions": folder / "predictions.parquet",
        "environment": folder / "environment.json",
        **({} if audited is None else {"audit": folder / "audit.parquet"}),
    }
    table = pa.concat_tables(
        [
            _table(run.parts[task], split, found, run.config.method.choice_names)
            for (task, split), found in scores.items()
        ]
    )
    text = json.dumps(environment, sort_keys=True, indent=2, allow_nan=False)
    last_bytes, is_whole = run.shelf.last_bytes, False
    try:
        save_adapter(files["adapter"], model_tensors(run.model), run.card, last_bytes)
        with room_for(folder, last_bytes):
            with whole_file(files["predictions"]) as path:
                pq.write_table(table, path)
            with whole_file(files["environment"]) as path:
                path.write_text(text, encoding="utf-8")
            if audited is not None:
                with whole_file(files["audit"]) as path:
                    pq.write_table(audited, path)
            reach("results.written")
        is_whole = True
    finally:
        if not is_whole:
            shutil.rmtree(files["adapter"], ignore_errors=True)
            for name in files.keys() - {"adapter"}:
                files[name].unlink(missing_ok=True)
    return files


def _run_result(run: TrainingRun) -> dict[str, Any]:
    """Numbers that a run has one of, however many tasks it was trained on."""
    progress = run.progress
    return {
        "best_step": progress.best_step if run.has_dev else progress.step,
        "updates": progress.step,
        "examples": progress.examples,
        "forward_equivalents": progress.forward_equivalents,
        "seconds": round(progress.seconds, 3),
        "cpu_seconds": round(progress.cpu_seconds, 3),
        "num_trainable": run.num_trainable,
        **({"environment_changes": changes} if (changes := progress.environment_changes) else {}),
    }


def _task_result(run: TrainingRun, part: TaskPart, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Numbers of one task."""
    metrics = {split: part.metrics(split, found) for split, found in scores.items()}
    extra = {name: metrics[name] for name in part.data.extra if metrics.get(name)}
    train_loss = _last_loss(run, part.name)
    reported = [split for split in ("dev", "test") if split in scores]
    return {
        "dev": metrics.get("dev", {}),
        "dev_last": run.progress.last_dev.get(part.name, {}),
        "test": metrics.get("test", {}),
        "train_loss": train_loss,
        "majority": {split: part.data.majority_share(split) for split in reported},
        "counts": {name: len(split) for name, split in part.splits.items()},
        "truncated": {name: split.tokens.truncated for name, split in part.splits.items()},
        "flags": list(_flags(run, part, scores.get("dev"), train_loss)),
        "test_source": part.data.test_source,
        "template": part.data.template,
        **({"extra": extra} if extra else {}),
    }


def _last_loss(run: TrainingRun, task: str) -> float:
    """Return the mean train loss of a task's last updates; of a short run its second half's."""
    half = max(1, (run.updates_done(task) + 1) // 2)
    return float(np.mean(run.progress.recent_losses.get(task, [np.nan])[-half:]))


def _joint_result(run: TrainingRun, tasks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Put the numbers of several tasks together."""
    flags = {flag for found in tasks.values() for flag in found["flags"]}
    splits = {
        key: {name: None for found in tasks.values() for name in found[key]}
        for key in ("majority", "counts", "truncated")
    }
    return {
        **{
            key: run.summary({name: found[key] for name, found in tasks.items()})
            for key in ("dev", "dev_last", "test")
        },
        "train_loss": mean_of({name: found["train_loss"] for name, found in tasks.items()}),
        "majority": {
            split: mean_of({name: found["majority"][split] for name, found in tasks.items()})
            for split in splits["majority"]
        },
        **{
            key: {
                split: sum(found[key].get(split, 0) for found in tasks.values())
                for split in splits[key]
            }
            for key in ("counts", "truncated")
        },
        "flags": [flag for flag in FLAGS if flag in flags],
        "tasks": {
            name: {**found, "updates": run.updates_done(name)} for name, found in tasks.items()
        },
    }


def _flags(
    run: TrainingRun, part: TaskPart, dev: Scores | None, train_loss: float
) -> tuple[str, ...]:
    """Tell what is suspicious about a task; without dev only what training itself shows."""
    train, nothing = part.splits["train"].tokens, np.zeros(0, dtype=np.int64)
    guessing, right = label_entropy(train.labels), list[tuple[int, ...]]()
    if part.data.kind == "choices":
        num_right = np.add.reduceat(train.right.astype(np.int64), train.unit_offsets[:-1])
        guessing = guessing_loss(num_right, train.unit_sizes)
        right = [example.right for example in part.examples("dev")]
    return run_flags(
        dev_predictions=nothing if dev is None else dev.predictions,
        dev_labels=nothing if dev is None else dev.labels,
        num_labels=len(part.data.labels),
        train_losses_tail=train_loss,
        label_entropy=guessing,
        dev_curve=run.progress.task_curves.get(part.name, []),
        dev_right=right,
        chance=part.data.majority_share("dev"),
        lowest=LOWEST.get(part.criterion, 0.0),
    )


def _table(
    part: TaskPart, split: str, scores: Scores, names: Mapping[str, tuple[str, ...]]
) -> pa.Table:
    """One row an example, in the order of its split."""
    examples = part.examples(split)
    count = len(examples)
    return pa.table(
        {
            "task": pa.array([part.name] * count, pa.string()),
            "split": pa.array([split] * count, pa.string()),
            "index": pa.array(np.arange(count), pa.int64()),
            "id": pa.array([example.id for example in examples], pa.string()),
            "label": pa.array(scores.labels, pa.int64()),
            "prediction": pa.array(scores.predictions, pa.int64()),
            "probabilities": pa.array(scores.probabilities(), pa.list_(pa.float64())),
            **{
                axis: _chosen(scores, axis, names.get(axis, ())).cast(kind)
                for axis, kind in CHOICE_COLUMNS.items()
            },
        }
    )


def _chosen(scores: Scores, axis: str, names: Sequence[str]) -> pa.Array:
    """Name what an axis chose for each given answer; nothing where nothing chooses."""
    rows = scores.answer_rows
    if axis not in scores.chosen:
        return pa.nulls(len(rows), pa.string())
    index = scores.chosen[axis].index[rows]
    return pa.array([names[place] for place in index.tolist()], pa.string())
