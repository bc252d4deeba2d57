"""Optimisers of a run, and their state as tensors with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.optimization import Adafactor

from core.errors import DamagedCheckpoint
from core.methods import LearningRates, OptimizerName, ParameterGroup
from core.training.model import RunModel

START_ANEW = "Continue from an earlier checkpoint, or start the run anew."


def make_optimizer(
    name: OptimizerName,
    groups: Mapping[ParameterGroup, Sequence[torch.nn.Parameter]],
    rates: LearningRates,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Make an optimiser with one parameter group for each of a run's.

    Adafactor is that of the published prompts: the given rates are neither relative to the step
    nor scaled by the tensor, and there is no warm-up of its own.

    Args:
        name: Which one.
        groups: Trained tensors, by learning-rate group.
        rates: Rate of each of these groups; kept as ``base`` beside the one in use.
        weight_decay: Decoupled decay, times the learning rate, per update.
    """
    content: list[dict[str, Any]] = [
        {"params": list(tensors), "lr": getattr(rates, group), "base": getattr(rates, group)}
        for group, tensors in groups.items()
    ]
    if name == "adamw":
        return torch.optim.AdamW(content, weight_decay=weight_decay, fused=True)
    return Adafactor(  # type: ignore[no-untyped-call]
        content,
        lr=1.0,
        weight_decay=weight_decay,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )


def optimizer_tensors(model: RunModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's state by ``<key>/<name of the trained tensor>``, on the CPU.

    A key that holds a whole number becomes an int64 tensor without a dimension.
    """
    names = {id(tensor): name for name, tensor in model.named_tensors().items()}
    return {
        f"{key}/{names[id(parameter)]}": _as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def _as_tensor(value: Tensor | int) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous()
    return torch.tensor(value, dtype=torch.int64)


def put_optimizer_tensors(
    model: RunModel, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimiser the state of a checkpoint; tensors that have none stay as they are.

    Raises:
        DamagedCheckpoint: If it is not that of the model's trained tensors.
    """
    names = {id(tensor): name for name, tensor in model.named_tensors().items()}
    found: dict[str, dict[str, Tensor]] = {}
    for place, tensor in tensors.items():
        key, _, name = place.partition("/")
        found.setdefault(name, {})[key] = tensor
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = found.pop(names[id(parameter)], None)
            if state is None:
                continue  # no gradient has reached it yet
            given = {key: tuple(tensor.shape) for key, tensor in state.items()}
            if given != _shapes(optimizer, tuple(parameter.shape)):
                raise DamagedCheckpoint(
                    f"The checkpoint's moments of {names[id(parameter)]} do not fit it.",
                    hint=START_ANEW,
                )
            optimizer.state[parameter] = {
                key: _as_state(tensor, parameter.device) for key, tensor in state.items()
            }
    if found:
        raise DamagedCheckpoint(
            f"The checkpoint has moments of nothing that is trained: {min(found)}.",
            hint=START_ANEW,
        )


def _shapes(optimizer: torch.optim.Optimizer, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of the state of a tensor, by key."""
    if not isinstance(optimizer, Adafactor):
        return {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
    own: dict[str, tuple[int, ...]] = {"step": (), "RMS": ()}
    if len(shape) < 2:
        return {**own, "exp_avg_sq": shape}
    return {**own, "exp_avg_sq_row": shape[:-1], "exp_avg_sq_col": (*shape[:-2], shape[-1])}


def _as_state(tensor: Tensor, device: torch.device) -> Tensor | int:
    if tensor.dtype == torch.int64:
        return int(tensor.item())
    return tensor.to(device).clone()
