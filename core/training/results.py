"""What a finished run hands over: numbers for tables and files for later questions.

``Ending.result`` of a succeeded run is a JSON-safe mapping with the keys

    best_step            updates done at the selected checkpoint
    updates              updates done in all
    examples             training examples seen, repeats counted
    forward_equivalents  examples that went through the backbone, for whatever purpose: training,
                         scoring, and once for each cache that the run was the first to need
    seconds              wall time in which the run took part in its group
    cpu_seconds          its share, by tokens, of the CPU time of the process
    num_trainable        trainable numbers by parameter group, as the optimiser holds them
    dev, test            metrics at the selected checkpoint, 0 to 1; test is scored once
    dev_last             metrics on dev at the last evaluation
    train_loss           mean over the last updates, in nats
    majority             share of the most frequent class in dev and in test
    counts, truncated    examples, and examples that were cut, in train, dev and test
    flags                warnings out of ``core.metrics.flags.FLAGS``
    test_source          file that test was read from
    group                runs that were trained together at the start, this one included
    environment          see ``core.training.environment``

Its files are ``adapter`` (a folder), ``predictions`` (Parquet) and ``environment`` (JSON).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import TrainingError
from core.metrics.flags import label_entropy, run_flags
from core.reporting import Ending
from core.states import Outcome
from core.training.checkpoint import model_tensors, save_adapter
from core.training.environment import environment_of
from core.training.evaluate import Scores
from core.training.run import SPLITS, TrainingRun


def finished(run: TrainingRun, dev: Scores, test: Scores, group: int) -> Ending:
    """Write a finished run's files and gather its numbers.

    Args:
        run: The run, its model holding the selected checkpoint.
        dev: Scores of that checkpoint on dev.
        test: Scores of that checkpoint on test.
        group: Runs that were trained together at the start.

    Raises:
        TrainingError: If the disk refuses.
    """
    environment = environment_of(run.warm.backbone, run.data)
    folder = run.member.folder
    files = {
        "adapter": folder / "adapter",
        "predictions": folder / "predictions.parquet",
        "environment": folder / "environment.json",
    }
    save_adapter(files["adapter"], model_tensors(run.model), run.card)
    table = _table({"dev": dev, "test": test})
    _write(files["predictions"], lambda path: pq.write_table(table, path))
    text = json.dumps(environment, sort_keys=True, indent=2, allow_nan=False)
    _write(files["environment"], lambda path: path.write_text(text, encoding="utf-8"))
    return Ending(
        outcome=Outcome.SUCCEEDED,
        result=_result(run, dev, test, {"group": group, "environment": environment}),
        files=files,
    )


def _result(run: TrainingRun, dev: Scores, test: Scores, more: dict[str, Any]) -> dict[str, Any]:
    progress, names = run.progress, run.data.metrics
    train_loss = float(np.mean(progress.recent_losses))
    return {
        "best_step": progress.best_step,
        "updates": progress.step,
        "examples": progress.examples,
        "forward_equivalents": progress.forward_equivalents,
        "seconds": round(progress.seconds, 3),
        "cpu_seconds": round(progress.cpu_seconds, 3),
        "num_trainable": run.num_trainable,
        "dev": dev.metrics(names),
        "dev_last": progress.last_dev,
        "test": test.metrics(names),
        "train_loss": train_loss,
        "majority": {split: run.data.majority_share(split) for split in ("dev", "test")},
        "counts": {split: len(run.splits[split]) for split in SPLITS},
        "truncated": {split: run.splits[split].tokens.truncated for split in SPLITS},
        "flags": list(
            run_flags(
                dev_predictions=dev.predictions,
                dev_labels=dev.labels,
                num_labels=len(run.data.labels),
                train_losses_tail=train_loss,
                label_entropy=label_entropy(run.splits["train"].tokens.labels),
                dev_curve=progress.dev_curve,
            )
        ),
        "test_source": run.data.test_source,
        **more,
    }


def _table(scores: dict[str, Scores]) -> pa.Table:
    """One row an example, in the order of its split."""
    parts = [
        pa.table(
            {
                "split": pa.array([split] * len(found.labels), pa.string()),
                "index": pa.array(np.arange(len(found.labels)), pa.int64()),
                "label": pa.array(found.labels, pa.int64()),
                "prediction": pa.array(found.predictions, pa.int64()),
                "probabilities": pa.array(
                    np.exp(found.log_probabilities).tolist(), pa.list_(pa.float64())
                ),
                "cut": pa.array(
                    [None] * len(found.labels) if found.cut is None else found.cut.tolist(),
                    pa.int64(),
                ),
            }
        )
        for split, found in scores.items()
    ]
    return pa.concat_tables(parts)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Make a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(
            f"{path} could not be written: {error.strerror or error}.",
            hint="Free some disk space, then retry the run.",
        ) from error
