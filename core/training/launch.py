"""One pass of the backbone for all rows that may share it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut
from core.methods._module import BackboneInputs, concatenate
from core.training.model import AdaptedModel


@dataclass(frozen=True)
class Rows:
    """Adapted rows of one run.

    Attributes:
        model: The run's trained part.
        inputs: What its method made of the rows.
        read_out: That of the run.
    """

    model: AdaptedModel
    inputs: BackboneInputs
    read_out: ReadOut


def launch(backbone: Backbone, parts: Sequence[Rows]) -> list[Tensor]:
    """Score the labels of several runs' rows with as few passes of the backbone as possible.

    Rows of equal launch shape share a pass; a run that trains its own backbone passes alone.

    Args:
        backbone: The frozen backbone.
        parts: Rows of each run.

    Returns:
        Logits of each run, shape (its rows, its labels), in the order of ``parts``.
    """
    shared: dict[Hashable, list[int]] = {}
    for index, part in enumerate(parts):
        own = part.model.method.own_backbone()
        shared.setdefault((part.inputs.launch_shape, None if own is None else id(own)), []).append(
            index
        )
    logits: dict[int, Tensor] = {}
    for indices in shared.values():
        own = parts[indices[0]].model.method.own_backbone()
        hidden = backbone.forward(concatenate([parts[i].inputs for i in indices]), own)
        counts = [parts[i].inputs.embeddings.shape[0] for i in indices]
        for index, rows in zip(indices, torch.split(hidden, counts), strict=True):
            part = parts[index]
            logits[index] = part.model.logits(rows, part.inputs, part.read_out)
    return [logits[index] for index in range(len(parts))]
